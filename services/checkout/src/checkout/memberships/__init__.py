"""Access that goes on as long as it is paid for: subscriptions with a tier."""
