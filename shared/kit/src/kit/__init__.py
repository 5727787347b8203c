"""Plumbing that knows no student, course or payment."""
