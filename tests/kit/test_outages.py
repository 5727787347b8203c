"""A failure that repeats is logged once, then ever more rarely, and so is its end."""

from __future__ import annotations

from structlog.testing import capture_logs

from kit.runtime.outages import Outage


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_failure_that_repeats_is_logged_after_a_minute_then_two_then_four() -> None:
    clock = Clock()
    outage = Outage("publishing", clock=clock, queue="q")
    with capture_logs() as logs:
        for _ in range(2 * 60 * 8):  # eight minutes, twice a second
            outage.failed(ConnectionRefusedError())
            clock.seconds += 0.5
        outage.ended()
        outage.ended()
    assert [(line["event"], line.get("failures", line.get("after_failures"))) for line in logs] == [
        ("publishing failed", 1),
        ("publishing failed", 121),
        ("publishing failed", 361),
        ("publishing failed", 841),
        ("publishing succeeded", 960),
    ]
    assert logs[-1]["after_seconds"] == 480
    assert {line["queue"] for line in logs} == {"q"}


def test_the_next_outage_is_logged_at_once() -> None:
    clock = Clock()
    outage = Outage("publishing", clock=clock)
    with capture_logs() as logs:
        outage.failed(ConnectionRefusedError())
        outage.ended()
        clock.seconds += 1
        outage.failed(TimeoutError())
    assert [line["event"] for line in logs] == ["publishing failed", "publishing succeeded", "publishing failed"]


def test_nothing_is_logged_while_all_is_well() -> None:
    with capture_logs() as logs:
        Outage("publishing").ended()
    assert logs == []
