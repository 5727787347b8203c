"""Alerts to the admins, by mail and by webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response
from tests.notifications.harness import (
    ADMIN,
    ANN,
    BARBER,
    CONTACT,
    NO_DELAYS,
    UNAVAILABLE,
    Harness,
    bodies,
    envelope_of,
    one,
    paid,
    subjects,
)
from tests.waiting import until

from contracts.checkout import RefundDecided, RefundRequested
from contracts.milady_integration import MiladyFailed
from contracts.money import usd
from contracts.payments import PaymentDisputeClosed, PaymentDisputeOpened, PaymentRefs
from kit.runtime.backoff import Backoff
from testkit.processes import free_ports
from testkit.smtp import Fault

INTENT = PaymentRefs(payment_intent="pi_1")
OPENED = PaymentDisputeOpened(refs=INTENT, dispute_id="du_1", status="needs_response", amount=usd(489_000))
REFUSED = MiladyFailed(student_id=ANN, program=BARBER, code="bad_<program>", attempts=3)


async def test_a_dispute_alerts_when_it_opens_and_when_it_closes(harness: Harness) -> None:
    review = OPENED.model_copy(update={"status": "under_review"})
    closed = PaymentDisputeClosed(refs=INTENT, dispute_id="du_1", status="won", amount=usd(489_000))
    await harness.receive(CONTACT, OPENED)
    assert await harness.deliver_due() == [], "its purchase is not on record yet"
    await harness.receive(paid(), review)
    await harness.deliver_due()
    await harness.receive(closed, closed)
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == [
        "[Admin] Dispute opened: 4,890.00 USD, Barber Apprenticeship",
        "[Admin] Dispute won: 4,890.00 USD, Barber Apprenticeship",
    ]
    text, _ = bodies(one(mails, "Dispute won"))
    assert "Status: won" in text and "What to do:" in text and "Ann" not in text


async def test_two_active_purchases_for_one_enrollment(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(n=1), paid(n=1, checkout_session="cs_1", payment_intent="pi_1"))
    await harness.deliver_due()
    await harness.receive(paid(n=2))
    text, _ = bodies(one(await harness.deliver_due(), "Paid twice for one enrollment"))
    assert str(UUID(int=1)) in text and str(UUID(int=2)) in text


async def test_a_refund_request_alerts_the_admins(harness: Harness) -> None:
    await harness.receive(
        RefundRequested(refund_request_id=UUID(int=5), purchase_id=UUID(int=1), student_id=ANN, reason="I am moving")
    )
    text, _ = bodies(one(await harness.deliver_due(), "A student asks for a refund"))
    assert "Reason: I am moving" in text and str(UUID(int=5)) in text and str(ANN) in text


async def test_a_rejected_address(harness: Harness) -> None:
    harness.mail.order(Fault.REJECT)
    await harness.receive(CONTACT, paid())
    mails = await harness.deliver_due()
    assert subjects(mails) == []
    text, _ = bodies(one(mails, "A message could not be delivered"))
    assert "Message: receipt" in text and "smtp_550" in text and "ann@" not in text


class Chat:
    """A webhook with scripted answers that stores its requests."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[dict[str, Any]] = []
        self.answers: list[Callable[[], Awaitable[Response]]] = []


@asynccontextmanager
async def chat_server(chat: Chat) -> AsyncIterator[Chat]:
    app = FastAPI()

    @app.post("/hook")
    async def hook(request: Request) -> Response:
        answer = chat.answers.pop(0) if chat.answers else _fine
        chat.got.append(await request.json())
        return await answer()

    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    chat.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield chat
    finally:
        server.should_exit = True
        await serving


async def _fine() -> Response:
    return Response("ok")


async def _busy() -> Response:
    return Response("later", 503)


async def _elsewhere() -> Response:
    return RedirectResponse("http://169.254.169.254/", 307)


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with chat_server(Chat()) as chat:
        yield chat


def with_webhook(harness: Harness, url: str) -> Harness:
    rules = replace(NO_DELAYS, alert_channels=("email", "webhook"))
    return Harness(harness.database, harness.mail, rules=rules, webhook_url=url)


async def test_the_webhook_gets_each_alert_once(harness: Harness, chat: Chat) -> None:
    harness = with_webhook(harness, chat.url)
    await harness.receive(REFUSED, REFUSED, UNAVAILABLE)
    assert len(subjects(await harness.deliver_due(), ADMIN)) == 2
    assert len(chat.got) == 2
    texts = "\n".join(each["text"] for each in chat.got)
    assert "*Milady rejected a student of Barber Apprenticeship*" in texts and "Code: bad_&lt;program&gt;" in texts


async def test_the_webhook_is_retried_on_503(harness: Harness, chat: Chat) -> None:
    harness = with_webhook(harness, chat.url)
    chat.answers = [_busy, _busy]
    await harness.receive(UNAVAILABLE)
    await harness.deliver_due()
    assert len(chat.got) == 3
    assert [row["status"] for row in await harness.rows("channel = 'webhook'")] == ["sent"]


async def test_the_webhook_does_not_follow_redirects(harness: Harness, chat: Chat) -> None:
    harness = with_webhook(harness, chat.url)
    chat.answers = [_elsewhere]
    await harness.receive(UNAVAILABLE)
    mails = await harness.deliver_due()
    (row,) = await harness.rows("channel = 'webhook'")
    assert (row["status"], row["code"]) == ("failed", "webhook_307")
    assert "alert-instructor-unavailable" in bodies(one(mails, "could not be delivered"))[0], (
        "through the other channel"
    )


async def test_an_unreachable_webhook_delays_no_mail(harness: Harness) -> None:
    harness = with_webhook(harness, f"http://127.0.0.1:{free_ports(1)[0]}/hook")
    harness.delivery.backoff = Backoff(first=timedelta(milliseconds=10), attempts=2)
    await harness.receive(CONTACT, paid(), UNAVAILABLE)
    mails = await harness.deliver_due()
    assert len(subjects(mails)) == 1 and len(subjects(mails, ADMIN)) == 2
    (row,) = await harness.rows("channel = 'webhook'")
    assert (row["status"], row["code"]) == ("failed", "gave_up")


# --- the steps of a dispute -------------------------------------------------------------------------------------------

DUE = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)


def dispute(status: str, *, closed: bool = False, **more: object) -> PaymentDisputeOpened | PaymentDisputeClosed:
    fields = {"refs": INTENT, "dispute_id": "du_1", "status": status, "amount": usd(489_000), "reason": "fraudulent"}
    kind = PaymentDisputeClosed if closed else PaymentDisputeOpened
    return kind.model_validate({**fields, **more})


def steps_of(mails: list[EmailMessage]) -> list[str]:
    return sorted(subject.split(":")[0].removeprefix("[Admin] Dispute ") for subject in subjects(mails, ADMIN))


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [("won", "won"), ("lost", "lost"), ("warning_closed", "inquiry closed"), ("prevented", "prevented")],
)
async def test_each_step_of_a_dispute_once(harness: Harness, outcome: str, headline: str) -> None:
    life = [
        dispute("warning_needs_response", evidence_due_by=DUE),
        dispute("needs_response", evidence_due_by=DUE),
        dispute("needs_response", funds="withdrawn"),
        dispute("needs_response", funds="reinstated"),
        dispute(outcome, closed=True),
    ]
    await harness.receive(CONTACT, paid())
    for event in (*life, *life):
        await harness.receive(event)
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert steps_of(mails) == sorted(["inquiry", "escalated", "funds withdrawn", "funds reinstated", headline])
    for step in ("inquiry", "escalated"):
        text, html = bodies(one(mails, f"Dispute {step}:"))
        for body in (text, html):
            assert "4,890.00 USD" in body and "fraudulent" in body and "April 1, 2026 at 12:00 PM UTC" in body
    assert "Evidence" not in bodies(one(mails, "funds withdrawn"))[0]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_earlier_steps_of_a_dispute_are_left_out_and_its_metadata_comes_from_the_payment(
    harness: Harness, order: tuple[int, ...]
) -> None:
    events = [
        paid(),
        dispute("warning_needs_response"),
        dispute("needs_response", funds="withdrawn"),
        dispute("lost", closed=True),
    ]
    await harness.receive(CONTACT, *(envelope_of(n, events[n]) for n in order))
    assert steps_of(await harness.deliver_due()) == ["funds withdrawn", "lost"]


async def test_an_inquiry_that_arrives_late_makes_no_second_alert(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(), dispute("needs_response"))
    await harness.deliver_due()
    await harness.receive(dispute("warning_needs_response"))
    assert steps_of(await harness.deliver_due()) == ["opened"]


async def test_a_decided_refund_request_alerts_nobody(harness: Harness) -> None:
    asked = RefundRequested(refund_request_id=UUID(int=5), purchase_id=UUID(int=1), student_id=ANN, reason="x")
    decided = RefundDecided(refund_request_id=UUID(int=5), purchase_id=UUID(int=1), student_id=ANN, decision="rejected")
    await harness.receive(CONTACT, decided, asked, paid())
    assert subjects(await harness.deliver_due(), ADMIN) == []
