"""Emails to students and sponsors, and alerts to the admins: each at most once per cause."""
