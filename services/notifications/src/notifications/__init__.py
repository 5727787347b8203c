"""Mails to students and sponsors, alerts to admins: each once per cause."""
