"""Payments, refunds, disputes, revenue, and saved payment methods."""
