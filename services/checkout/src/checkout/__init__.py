"""The catalog, purchases and their payments, installments, memberships and receipts."""
