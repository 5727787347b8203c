SECRET_KEY = "sk_test_checkout"
