"""An offline stand-in for the course provider."""
