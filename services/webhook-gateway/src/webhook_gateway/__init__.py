"""The door that Stripe's events come in by: verify, journal, publish, answer."""
