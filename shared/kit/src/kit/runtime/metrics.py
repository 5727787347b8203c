"""Prometheus metrics of messaging, jobs and HTTP. Labels are names from the code, never data."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("bursar_messages_total", "Deliveries by outcome", ["queue", "type", "outcome"])
UNRECOGNIZED = Counter("bursar_unrecognized_events_total", "Deliveries of an event type of a later version", ["queue"])
HANDLING = Histogram(
    "bursar_handling_seconds",
    "From delivery to acknowledgment",
    ["queue"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
PUBLISHED = Counter("bursar_published_total", "Messages confirmed by the broker", ["routing_key"])
PUBLISH_FAILURES = Counter("bursar_publish_failures_total", "Messages not confirmed by the broker", ["reason"])
DUE = Gauge("bursar_due", "Rows that are due and not published", ["table"])
OLDEST_DUE = Gauge("bursar_oldest_due_seconds", "How long the oldest row that is due has been due", ["table"])
QUEUE_MESSAGES = Gauge("bursar_queue_messages", "Messages that wait in a queue or dead-letter queue", ["queue"])
POOL = Gauge("bursar_pool_connections", "Database connections of a pool: its size, and those in use", ["pool", "state"])
JOB_ROWS = Gauge("bursar_job_rows", "Jobs that are due, wait for a later time, or have failed", ["state"])
JOBS = Counter("bursar_jobs_total", "Job attempts by outcome", ["kind", "outcome"])
REQUESTS = Histogram(
    "bursar_http_request_seconds",
    "From request to response",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
