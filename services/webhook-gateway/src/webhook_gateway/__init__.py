"""Receives Stripe's webhooks: verifies and journals each event, then publishes what it means."""
