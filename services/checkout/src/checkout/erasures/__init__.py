"""Erasures of students: the request, what stands in its way, and which services have erased."""
