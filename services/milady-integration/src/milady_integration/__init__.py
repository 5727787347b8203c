"""Enrollments at Milady, the outside course provider."""
