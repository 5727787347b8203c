"""An offline stand-in for Stripe: its wire form, its hosted pages and its signed webhooks.

Everything lives in the memory of one process. It imports the official SDK only to read its types: the parameter
dictionaries say what a request may carry, the resource classes say which fields an object has.
"""
