"""The audit trail, and the events of every purchase, across all services."""
