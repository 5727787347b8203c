"""The enrollment at the outside course provider."""
