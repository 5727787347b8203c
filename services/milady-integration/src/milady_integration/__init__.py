"""The seat at the outside course provider."""
