"""The events of a purchase as lines for people."""

from __future__ import annotations

from typing import Any

import pytest

from bursar import story


def event(id: str, type_: str, time: str, *refs: str, cause: str = "", **data: Any) -> dict[str, Any]:
    return {
        "event_id": id,
        "type": type_,
        "source": "checkout",
        "time": f"2026-11-22T{time}+00:00",
        "received_at": f"2026-11-22T{time}+00:00",
        "causation_id": cause,
        "refs": list(refs),
        "data": data,
    }


def usd(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "usd"}


def test_events_that_say_the_same_of_one_payment_are_one_line() -> None:
    paid = "payment.succeeded.v1"
    found = story.lines(
        [
            event("a", paid, "10:00:00", "pi_1", amount=usd(86_500)),
            event("b", paid, "10:00:01", "pi_1", "ch_1", amount=usd(86_500), method="card"),
            event("c", paid, "10:00:02", "pi_2", amount=usd(86_500)),
            event("d", paid, "11:00:00", "pi_1", amount=usd(86_500)),
        ]
    )
    assert [(line.text, line.events, line.reference) for line in found] == [
        ("payment of 865.00 USD succeeded by card", 2, "pi_1"),
        ("payment of 865.00 USD succeeded", 1, "pi_2"),
        ("payment of 865.00 USD succeeded", 1, "pi_1"),
    ]


def test_no_event_comes_before_its_cause() -> None:
    found = story.lines(
        [
            event("effect", "enrollment.activated.v1", "09:59:58", cause="cause"),
            event("cause", "payment.succeeded.v1", "10:00:00", amount=usd(1)),
        ]
    )
    assert [line.text for line in found] == ["payment of 0.01 USD succeeded", "enrollment activated"]


def test_causes_in_a_circle_end() -> None:
    circle = [event("a", "x.y.v1", "10:00:00", cause="b"), event("b", "x.z.v1", "10:00:00", cause="a")]
    assert len(story.lines(circle)) == 2


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (usd(489_000), "4,890.00 USD"),
        ({"amount": 500, "currency": "jpy"}, "500 JPY"),
        ({"amount": 1500, "currency": "kwd"}, "1.500 KWD"),
        (None, ""),
        ({"amount": "x"}, ""),
    ],
)
def test_money(amount: Any, text: str) -> None:
    assert story.money(amount) == text


@pytest.mark.parametrize(
    ("type_", "data", "text"),
    [
        ("something.new_here.v3", {"status": "odd"}, "something new here v3: odd"),
        ("payment.failed.v1", {"code": "card_declined", "attempt": 2}, "payment failed: card_declined, attempt 2"),
        ("payment.refunded.v1", {"total": usd(100), "of": usd(200)}, "refunded 1.00 USD of 2.00 USD"),
        ("milady.failed.v1", {"code": "full"}, "Milady failed: full"),
        (
            "audit.recorded.v1",
            {"act": {"action": "refund.decided", "reason": "moved"}, "actor": {"id": "abcdefghij", "role": "admin"}},
            "refund decided by admin abcdefgh: moved",
        ),
        ("instructor.assigned.v1", {"instructor": None}, "instructor assigned"),
        ("receipt.issued.v1", {}, "receipt issued,"),
    ],
)
def test_the_text_of_an_event(type_: str, data: dict[str, Any], text: str) -> None:
    (line,) = story.lines([event("a", type_, "10:00:00", **data)])
    assert line.text == text
