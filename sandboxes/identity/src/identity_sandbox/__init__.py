"""An offline OpenID Connect provider for the demo and the tests. It protects nothing."""
