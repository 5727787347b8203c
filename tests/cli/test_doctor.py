"""Which samples of /metrics are alerts, and what a process that does not answer looks like."""

from __future__ import annotations

import pytest

from bursar.doctor import alerts, examine
from testkit.processes import free_ports


def metric(name: str, value: float, **labels: str) -> str:
    inner = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"# TYPE {name} gauge\n{name}{{{inner}}} {value}\n"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (metric("bursar_queue_messages", 3, queue="enrollment.payments.dead"), "3 in enrollment.payments.dead"),
        (metric("bursar_queue_messages", 3, queue="enrollment.payments"), None),
        (metric("bursar_queue_messages", 0, queue="enrollment.payments.dead"), None),
        (metric("bursar_queue_messages", 2, queue="webhook-gateway.spill"), "2 webhooks wait in webhook-gateway.spill"),
        (metric("bursar_job_rows", 1, state="failed"), "1 jobs have failed"),
        (metric("bursar_job_rows", 1, state="due"), None),
        (
            metric("bursar_oldest_due_seconds", 61, table="outbox"),
            "the oldest row of the outbox has been due for 61 s",
        ),
        (metric("bursar_oldest_due_seconds", 60, table="outbox"), None),
        (
            metric("bursar_stripe_endpoint_problem", 1, problem="disabled"),
            "the webhook endpoint at Stripe: disabled",
        ),
        (metric("bursar_stripe_comparison_age_seconds", 899, of="events"), None),
        (
            metric("bursar_stripe_comparison_age_seconds", 1000, of="events"),
            "the events at Stripe were not compared for 1000 s",
        ),
        (metric("bursar_stripe_comparison_age_seconds", 86_399, of="objects"), None),
        (
            metric("bursar_stripe_comparison_age_seconds", 90_000, of="objects"),
            "the objects at Stripe were not compared for 90000 s",
        ),
        (metric("bursar_erasures_overdue", 0), None),
        (metric("bursar_erasures_overdue", 2), "2 erasures are overdue"),
        (metric("bursar_stripe_differences", 0, object_kind="charge"), None),
        (
            metric("bursar_stripe_differences", 2, object_kind="charge"),
            "2 fields of a charge at Stripe differ from what was published",
        ),
    ],
)
def test_what_is_an_alert(text: str, outcome: str | None) -> None:
    found = [finding.outcome for finding in alerts("relay", text)]
    assert found == ([outcome] if outcome else [])


def test_a_process_that_does_not_answer_is_named() -> None:
    (port,) = free_ports(1)
    (finding,) = examine({"relay": f"http://127.0.0.1:{port}"})
    assert (finding.process, finding.is_ok) == ("relay", False)
    assert "ConnectError" in finding.outcome
