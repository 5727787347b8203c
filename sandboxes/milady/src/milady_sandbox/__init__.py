"""An offline emulator of the course provider's API."""
