"""Memberships: subscriptions with a tier, which renew until they are canceled."""
