"""Who teaches whom."""
