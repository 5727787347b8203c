"""The figures: payments as one row each, and what is counted from them and from the stored events."""
