"""Messages about an enrollment: the welcome, what was not known then, and what becomes of the enrollment. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.instructor_assignment import InstructorAssigned
from contracts.milady_integration import MiladyEnrolled
from contracts.money import Money
from contracts.payments import PurchaseCanceled
from ledger.policy import Policy
from ledger.purchase import Purchase, Standing
from notifications.failures import cause_told, missed_told, page_to_pay, what_failed
from notifications.known import Place
from notifications.message import Hold, Message

_NEVER_OPENED = "payment_failed"
"""Why an enrollment is withdrawn that was only pending: the mail about the payment says it all."""


def about_enrollment(place: Place, policy: Policy) -> Iterator[Message]:
    latest = place.latest
    if latest is None or place.contradicted(policy):
        return
    if place.is_open and any(isinstance(step, (EnrollmentActivated, EnrollmentResumed)) for step in place.steps):
        yield from _opened(place)
    judged = place.standing(policy)
    reason = judged[1] if judged and judged[1] else latest.reason
    match latest:
        case EnrollmentPaused():
            yield _paused(place, latest, reason, policy)
        case EnrollmentResumed():
            yield _step(place, latest, "enrollment-resumed")
        case EnrollmentWithdrawn() if latest.reason != _NEVER_OPENED:
            yield _step(place, latest, "enrollment-withdrawn", told={"reason": reason, **_ending(place, reason)})
        case _:
            pass


def _paused(place: Place, step: EnrollmentEvent, reason: str | None, policy: Policy) -> Message:
    """The student's only mail about the payment that has caused it, so it tells of that, too."""
    missed = place.past_due if reason == "past_due" else ()
    stopped = [p for p in place.purchases if p.standing(policy) == (Standing.PAUSED, "plan_canceled")]
    behind = [p for p in place.purchases if any(payment in missed for payment in p.past_due)]
    payers = {place.payer(purchase) for purchase in (behind if reason == "past_due" else stopped)}
    told = {
        "reason": reason,
        "payer": "sponsor" if payers == {"sponsor"} else "student",
        "missed": what_failed(place, missed[0]) if len(missed) == 1 else None,
        "pay_url": None if "sponsor" in payers else page_to_pay(missed),
        "reopens": not missed or place.would_be_open(missed, policy),
        "rest": _rest(stopped),
    }
    return _step(
        place,
        step,
        "enrollment-paused",
        told=told,
        tells=frozenset[str]().union(*(missed_told(payment) for payment in missed)) if missed else cause_told(place),
    )


def _rest(stopped: Sequence[Purchase]) -> Money | None:
    """What is left of the price of a plan that has ended too early; None when that is not known."""
    if len(stopped) != 1 or (price := stopped[0].price) is None:
        return None
    return Money(amount=price.amount - stopped[0].paid.get(price.currency, 0), currency=price.currency)


def _ending(place: Place, reason: str | None) -> dict[str, Any]:
    """The school's own words when it has ended the purchase, and what has gone back of the money so far."""
    if reason != "canceled":
        return {"because": None, "refunds": []}
    ended = [purchase for purchase in place.purchases if purchase.canceled]
    words = [fact for p in ended for fact in p.facts if isinstance(fact, PurchaseCanceled)]
    back: Counter[str] = Counter()
    for purchase in ended:
        back.update(purchase.refunded)
    return {
        "because": max(words, key=place.when).reason if words else None,
        "refunds": [Money(amount=amount, currency=code) for code, amount in sorted(back.items()) if amount > 0],
    }


def _opened(place: Place) -> Iterator[Message]:
    """The welcome, or for an enrollment that was lost before and whose student has been welcomed: it is open again.

    What either of them tells is not told a second time; what is known only later follows in a mail of its own.
    """
    enrollment_id = place.steps[-1].enrollment_id
    welcome = f"welcome:{enrollment_id}"
    after = welcome
    tells = frozenset(_instructor_mark(place) | _links_mark(place))
    told = {**_instructor(place), **_links(place)}
    hold = Hold.NOW if place.words_are_in else Hold.GRACE
    reopened = _reopened(place)
    if reopened:
        after = f"reopened:{enrollment_id}/{reopened.revision}"
        yield _message(
            place,
            key=f"enrollment-reopened/{enrollment_id}/{reopened.revision}",
            template="enrollment-reopened",
            purchase_id=reopened.purchase_id,
            hold=hold,
            once=frozenset((after,)),
            after=frozenset((welcome,)),
            tells=tells,
            told=told,
        )
    yield _message(
        place,
        key=f"welcome/{enrollment_id}",
        template="welcome",
        purchase_id=place.steps[-1].purchase_id,
        hold=hold,
        once=frozenset((welcome,)),
        tells=tells | ({after} - {welcome}),
        told=told,
    )
    for marks, template, more in (
        (_instructor_mark(place), "instructor", _instructor(place)),
        (_links_mark(place), "course-links", _links(place)),
    ):
        for mark in marks:
            yield _message(
                place,
                key=f"{template}/{enrollment_id}/{mark.partition(':')[2]}",
                template=template,
                purchase_id=place.steps[-1].purchase_id,
                once=frozenset((mark,)),
                after=frozenset((welcome, after)),
                told=more,
            )


def _reopened(place: Place) -> EnrollmentEvent | None:
    """The latest activation, when a withdrawal came before it."""
    activations = [step for step in place.steps if isinstance(step, EnrollmentActivated)]
    if not activations:
        return None
    lost = [step for step in place.steps if isinstance(step, EnrollmentWithdrawn) and step.reason != _NEVER_OPENED]
    return activations[-1] if any(step.revision < activations[-1].revision for step in lost) else None


def _step(
    place: Place,
    step: EnrollmentEvent,
    template: Literal["enrollment-paused", "enrollment-resumed", "enrollment-withdrawn"],
    *,
    told: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> Message:
    """Each change of the enrollment once, unless a later one has overtaken it."""
    key = f"{template}/{step.enrollment_id}/{step.revision}"
    return _message(
        place,
        key=key,
        template=template,
        purchase_id=step.purchase_id,
        once=frozenset((key,)),
        told={"slug": place.slug, **told},
        **more,
    )


def _message(
    place: Place, *, key: str, template: str, purchase_id: UUID | None, told: Mapping[str, Any], **more: Any
) -> Message:
    return Message(
        key=key,
        template=template,
        recipient="student",
        about=place.key,
        student_id=place.student_id,
        purchase_id=purchase_id,
        contact=place.student_contact,
        told={
            "program": place.program.title,
            "what": place.what,
            "kind": place.program.kind or "program",
            "taught": place.program.taught,
            "tier": place.tier,
            "enrollments": [],
            **told,
        },
        **more,
    )


def _instructor(place: Place) -> dict[str, Any]:
    word = place.instructor
    if not isinstance(word, InstructorAssigned) or not place.program.taught:
        return {"instructor": None}
    return {"instructor": {"name": word.instructor.name, "specialty": word.instructor.specialty}}


def _instructor_mark(place: Place) -> set[str]:
    word = place.instructor
    if isinstance(word, InstructorAssigned) and place.program.taught:
        return {f"instructor:{word.assignment_id}"}
    return set()


def _links(place: Place) -> dict[str, Any]:
    """Only what a browser opens as a page: the provider's word is a stranger's."""
    if not isinstance(place.milady, MiladyEnrolled):
        return {"links": []}
    pages = [link for link in place.milady.links if link.url.startswith(("https://", "http://"))]
    return {"links": [{"title": link.title, "url": link.url} for link in pages]}


def _links_mark(place: Place) -> set[str]:
    if isinstance(place.milady, MiladyEnrolled) and _links(place)["links"]:
        return {f"links:{place.milady.milady_enrollment_id}"}
    return set()
