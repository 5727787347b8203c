"""Purchases: from a request to something that can be paid."""
