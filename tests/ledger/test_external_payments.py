"""Payments and plans that were not started here: nothing opens before they are recorded."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from tests.ledger.payment_histories import BARBER, PRICE, STUDENT, numbered
from tests.ledger.purchase_events import ACTIVE, SHARE, UNDERPAID, day, judged, plan_fields

from contracts.money import Money, usd
from contracts.payments import (
    PaymentEvent,
    PaymentRefs,
    PaymentSucceeded,
    PurchaseRecorded,
    SubscriptionChanged,
    SubscriptionScheduleEnded,
)
from contracts.people import Program, purchase_uuid
from ledger.verdict import verdicts

# --- payments that were not started here ------------------------------------------------------------------------------


def external(amount: Money, **changes: Any) -> PaymentEvent:
    program = Program(slug="3f6c", id="3f6c", id_only=True)
    values = {"purchase_id": purchase_uuid("pi_1"), "student_id": STUDENT, "program": program, **changes}
    return PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1"), amount=amount, as_of=day(0), **values)


def recorded(price: Money, *, student: UUID = STUDENT, program: Program = BARBER, at: float = 1) -> PaymentEvent:
    return PurchaseRecorded(
        refs=PaymentRefs(payment_intent="pi_1"),
        purchase_id=purchase_uuid("pi_1"),
        student_id=student,
        program=program,
        price=price,
        as_of=day(at),
    )


def test_a_payment_that_was_not_started_here_opens_nothing_until_it_is_recorded() -> None:
    assert judged(external(PRICE)) == ("none", None)
    assert judged(external(PRICE, price=usd(1))) == ("none", None), "the metadata's price is not the catalog's"
    assert judged(external(PRICE), recorded(PRICE)) == ACTIVE
    assert judged(external(usd(50)), recorded(PRICE)) == UNDERPAID


def test_a_record_decides_the_price_of_our_own_purchase_too() -> None:
    ours = uuid4()
    record = recorded(PRICE).model_copy(update={"purchase_id": ours})
    assert judged(external(usd(50), purchase_id=ours, program=BARBER, price=usd(50)), record) == UNDERPAID
    assert judged(external(PRICE, purchase_id=ours, program=BARBER, price=usd(50)), record) == ACTIVE


def test_an_external_membership_opens_with_the_price_of_a_period() -> None:
    tier = Program(slug="membership", id="m-1", kind="membership")
    record = recorded(PRICE, program=tier).model_copy(update={"price": None, "due": usd(1_900)})
    assert judged(external(usd(50), program=tier, price=usd(50)), record) == UNDERPAID
    assert judged(external(usd(1_900), program=tier, price=usd(50)), record) == ACTIVE


def test_the_latest_record_decides_who_bought_what() -> None:
    other, web = uuid4(), Program(slug="web-developer", id="prog-2")
    facts = numbered([external(PRICE), recorded(PRICE), recorded(PRICE, student=other, program=web, at=2)])
    standing = {(v.student_id, v.program.slug): str(v.standing) for v in verdicts(facts).values()}
    assert standing[other, "web-developer"] == "active"
    assert set(standing.values()) == {"active", "withdrawn"}
    assert list(standing.values()).count("active") == 1


def test_money_of_nobody_names_nobody() -> None:
    stranger = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_9"), amount=usd(500))
    assert judged(stranger) == ("none", None)


# --- plans that another system made -----------------------------------------------------------------------------------


def test_an_external_plan_that_stops_early_is_paused() -> None:
    refs = PaymentRefs(invoice="in_1", subscription="sub_1")
    of_purchase = plan_fields(purchase_id=purchase_uuid("sub_1"))
    first = PaymentSucceeded(refs=refs, amount=SHARE, **of_purchase)
    record = PurchaseRecorded(refs=PaymentRefs(subscription="sub_1"), **of_purchase)
    gone = SubscriptionChanged(refs=PaymentRefs(subscription="sub_1"), status="canceled", **of_purchase)
    aborted = SubscriptionScheduleEnded(refs=PaymentRefs(subscription="sub_1"), outcome="aborted")
    released = aborted.model_copy(update={"outcome": "released"})
    assert judged(first, record) == ACTIVE
    assert judged(first, record, released) == ACTIVE
    assert judged(first, record, gone) == ("paused", "plan_canceled")
    assert judged(first, record, aborted) == ("paused", "plan_canceled")
    credit = PaymentSucceeded(
        refs=PaymentRefs(invoice="in_2", subscription="sub_1"),
        amount=usd(0),
        credit=usd(PRICE.amount - SHARE.amount),
        **of_purchase,
    )
    assert judged(first, credit, record, gone) == ACTIVE, "a credit balance has paid the rest"
