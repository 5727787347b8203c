"""Receipts and invoices: numbers without gaps, and documents that can be made again at any time."""
