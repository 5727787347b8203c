"""The timeline of a purchase: every event about it, of whatever service, oldest first, without personal data."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from tests.plans import Executed, recorded, scans_of
from tests.reporting.harness import Service, act

from contracts.checkout import PurchaseCreated, ReceiptIssued, RefundRequested, StudentUpdated
from contracts.enrollment import EnrollmentActivated, EnrollmentProgressed
from contracts.money import usd
from contracts.notifications import NotificationSent
from contracts.payments import PaymentDisputeOpened, PaymentMethodDetails, PaymentRefs, PaymentSucceeded
from contracts.people import Contact, Program

BARBER = Program(slug="barber-apprenticeship", id="prog-1", name="Barber Apprenticeship", provider="milady")
PARTITION = re.compile(r"events_(default|\d{4}_\d\d)")
ANN = Contact(email="ann@student.example.com", name="Ann Ames")


async def timeline(service: Service, purchase: UUID) -> list[dict[str, Any]]:
    response = await service.get(f"/api/admin/purchases/{purchase}/timeline")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["events"]
    return found


async def test_every_event_of_a_purchase_is_there_and_no_other(service: Service) -> None:
    purchase, student, enrollment = uuid4(), uuid4(), uuid4()
    created = PurchaseCreated(
        purchase_id=purchase,
        student_id=student,
        program=BARBER,
        amount=usd(489_000),
        payer="student",
        payment_type="full",
        checkout_url="https://pay.example.com/secret",
    )
    paid = PaymentSucceeded(
        refs=PaymentRefs(payment_intent="pi_1234", customer="cus_shared"), purchase_id=purchase, amount=usd(489_000)
    )
    charged = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1234", charge="ch_1234"), amount=usd(489_000))
    disputed = PaymentDisputeOpened(
        refs=PaymentRefs(charge="ch_1234"), dispute_id="dp_1234", status="needs_response", amount=usd(489_000)
    )
    activated = EnrollmentActivated(
        enrollment_id=enrollment, student_id=student, program=BARBER, purchase_id=purchase, revision=1
    )
    progressed = EnrollmentProgressed(
        enrollment_id=enrollment, student_id=student, program_slug=BARBER.slug, percent=10
    )
    sent = NotificationSent(
        notification_id=uuid4(), template="welcome", channel="email", recipient="student", purchase_id=purchase
    )
    others = [
        PaymentSucceeded(
            refs=PaymentRefs(payment_intent="pi_other", customer="cus_shared"), purchase_id=uuid4(), amount=usd(1)
        ),
        PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_third", customer="cus_shared"), amount=usd(1)),
    ]
    own = [
        service.envelope(created),
        service.envelope(paid, source="webhook-gateway", id="evt_12345/payment.succeeded.v1"),
        service.envelope(charged, source="webhook-gateway"),
        service.envelope(activated, source="enrollment"),
        service.envelope(progressed, source="enrollment", subject=str(purchase)),
        service.envelope(sent, source="notifications"),
        service.envelope(disputed, source="webhook-gateway"),
        service.audited(act("refund.decided", "r_1", purchase_id=purchase)),
    ]
    await service.receive(*[service.envelope(event) for event in others], *reversed(own))
    found = await timeline(service, purchase)
    assert [event["event_id"] for event in found] == [event.id for event in own]
    assert found[1]["refs"] == ["cus_shared", "evt_12345", "pi_1234"]
    assert [event["source"] for event in found][:2] == ["checkout", "webhook-gateway"]


async def test_an_event_is_kept_once_however_often_it_comes(service: Service) -> None:
    purchase = uuid4()
    paid = service.envelope(PaymentSucceeded(refs=PaymentRefs(), purchase_id=purchase, amount=usd(1)))
    await service.receive(paid, paid)
    await service.as_owner("TRUNCATE inbox")
    await service.receive(paid)
    assert len(await timeline(service, purchase)) == 1


async def test_an_unknown_purchase_is_404(service: Service) -> None:
    response = await service.get(f"/api/admin/purchases/{uuid4()}/timeline")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_purchase")


async def test_no_personal_data_is_stored(service: Service) -> None:
    purchase, student = uuid4(), uuid4()
    refs = PaymentRefs(payment_intent="pi_1234")
    await service.receive(
        service.envelope(StudentUpdated(student_id=student, contact=ANN)),
        service.envelope(
            PaymentSucceeded(
                refs=refs,
                purchase_id=purchase,
                amount=usd(1),
                contact=ANN,
                details=PaymentMethodDetails(type="card", brand="visa", last4="4242"),
            )
        ),
        service.envelope(
            RefundRequested(
                refund_request_id=uuid4(), purchase_id=purchase, student_id=student, reason="I am Ann Ames, and ill"
            )
        ),
        service.envelope(
            ReceiptIssued(
                document_id=uuid4(),
                kind="receipt",
                number="R-1",
                purchase_id=purchase,
                student_id=student,
                refs=refs,
                amount=usd(1),
                filename="R-1.pdf",
                pdf="QW5uIEFtZXM=",
            )
        ),
    )
    rows = await service.as_owner("SELECT row_to_json(events)::text AS row FROM events")
    text = json.dumps([row["row"] for row in rows])
    assert len(rows) == 4
    for personal in ("ann@student.example.com", "Ann Ames", "4242", "QW5uIEFtZXM="):
        assert personal not in text
    assert "visa" in text


async def items(service: Service, **query: Any) -> list[dict[str, Any]]:
    response = await service.get("/api/admin/timelines", **query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["items"]
    return found


async def test_a_purchase_is_found_by_its_student_and_by_any_object_at_stripe(service: Service) -> None:
    first, second, student = uuid4(), uuid4(), uuid4()
    links = [
        PaymentSucceeded(
            refs=PaymentRefs(payment_intent="pi_1234"), purchase_id=first, student_id=student, amount=usd(1)
        ),
        PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1234", charge="ch_1234"), amount=usd(1)),
        PaymentDisputeOpened(refs=PaymentRefs(charge="ch_1234"), dispute_id="dp_1234", status="lost", amount=usd(1)),
    ]
    later = PaymentSucceeded(
        refs=PaymentRefs(payment_intent="pi_later"), purchase_id=second, student_id=student, amount=usd(2)
    )
    await service.receive(*[service.envelope(event) for event in (*links, later)])
    for id in ("pi_1234", "ch_1234", "dp_1234"):
        (found,) = await items(service, stripe_id=id)
        assert (found["purchase_id"], len(found["events"])) == (str(first), 3), id
    by_student = await items(service, student_id=student)
    assert [each["purchase_id"] for each in by_student] == [str(first), str(second)]


async def test_a_payment_without_a_purchase_has_a_timeline(service: Service) -> None:
    await service.receive(
        service.envelope(PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_stray"), amount=usd(1)))
    )
    (found,) = await items(service, stripe_id="pi_stray")
    assert (found["purchase_id"], len(found["events"])) == (None, 1)
    assert await items(service, stripe_id="pi_unknown") == []


async def test_timelines_are_for_admins_and_of_one_thing(service: Service) -> None:
    for role in ("student", "case_manager", "specialist"):
        assert (await service.get("/api/admin/timelines", role=role, stripe_id="pi_1")).status_code == 403
    for query in ({}, {"stripe_id": "pi_1", "student_id": str(uuid4())}):
        assert (await service.get("/api/admin/timelines", **query)).status_code == 422


async def test_a_replay_of_two_purchases_does_not_mix_their_timelines(service: Service) -> None:
    first, second = uuid4(), uuid4()
    for purchase, intent in ((first, "pi_1111"), (second, "pi_2222")):
        paid = PaymentSucceeded(refs=PaymentRefs(payment_intent=intent), purchase_id=purchase, amount=usd(1))
        disputed = PaymentDisputeOpened(
            refs=PaymentRefs(payment_intent=intent), dispute_id=f"dp_{intent}", status="lost", amount=usd(1)
        )
        await service.receive(
            service.envelope(paid, id=f"evt_{intent}/payment.succeeded.v1"),
            service.envelope(disputed, id=f"evt_dp_{intent}/payment.dispute_opened.v1"),
        )
    both = act("event.replayed", "journal", references=("evt_pi_1111", "evt_dp_pi_2222", "evt_pi_2222"))
    await service.receive(service.audited(both))
    sources = [event["event_id"] for event in await timeline(service, first)]
    assert [id for id in sources if "2222" in id] == []
    assert [event["type"] for event in await timeline(service, first)][-1] == "audit.recorded.v1"


async def test_no_timeline_reads_the_events_of_all_time(service: Service) -> None:
    """Every condition has to be one that PostgreSQL looks up by an index under row-level security."""
    purchase, student, _ = await paid_by_card(service)
    async with recorded(service.of_requests) as executed:
        assert len(await timeline(service, purchase)) == 2
        for query in ({"student_id": str(student)}, {"stripe_id": "ch_1234"}):
            found = (await service.get("/api/admin/timelines", **query)).json()["items"]
            assert [len(each["events"]) for each in found] == [2]
    of_events = [(service.logins.staff_url, each) for each in executed if "FROM events" in each.statement]
    assert len(of_events) > 6
    looked_up = Executed("SELECT event_id FROM events WHERE refs && $1", [["pi_1234"]])  # by events_by_ref
    for url, each in (*of_events, (service.logins.owner_url, looked_up)):
        scans = await scans_of(url, each)
        assert scans and not {scan for scan in scans if PARTITION.fullmatch(scan)}, each.statement


async def test_the_function_that_looks_events_up_is_for_admins(service: Service) -> None:
    *_, event_id = await paid_by_card(service)
    connection = await asyncpg.connect(service.logins.staff_url)
    try:
        for role, found in (("case_manager", []), ("specialist", []), ("admin", [event_id])):
            await connection.execute("SELECT set_config('app.role', $1, false)", role)
            rows = await connection.fetch("SELECT events_by_ref(ARRAY['ch_1234']) AS event_id")
            assert [row["event_id"] for row in rows] == found, role
    finally:
        await connection.close()


async def paid_by_card(service: Service) -> tuple[UUID, UUID, str]:
    """The purchase, the student, and the event of the charge, which names neither."""
    purchase, student = uuid4(), uuid4()
    refs = PaymentRefs(payment_intent="pi_1234")
    paid = PaymentSucceeded(refs=refs, purchase_id=purchase, student_id=student, amount=usd(1))
    charged = service.envelope(
        PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1234", charge="ch_1234"), amount=usd(1))
    )
    await service.receive(service.envelope(paid), charged)
    return purchase, student, charged.id
