"""Prometheus metrics of the plumbing. Labels are names of ours, never data."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("bursar_messages_total", "Deliveries by what became of them", ["queue", "type", "outcome"])
HANDLING = Histogram(
    "bursar_handling_seconds",
    "From delivery to acknowledgement",
    ["queue"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
PUBLISHED = Counter("bursar_published_total", "Messages confirmed by the broker", ["routing_key"])
PUBLISH_FAILURES = Counter("bursar_publish_failures_total", "Messages that the broker did not confirm", ["reason"])
DUE = Gauge("bursar_due", "Rows that are due and not yet published", ["table"])
JOBS = Counter("bursar_jobs_total", "Attempts at jobs by what became of them", ["kind", "outcome"])
REQUESTS = Histogram(
    "bursar_http_request_seconds",
    "From request to response",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
