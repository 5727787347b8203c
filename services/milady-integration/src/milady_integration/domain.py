"""How a place at Milady follows its enrollment. Pure: plain data in, decisions out.

`wish` is what the facts want, `status` what is known to be so at Milady, `step` what is being done about the
difference. There is one step at a time per enrollment, and its outcome decides about the next: whatever is wished meanwhile
wins in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.milady_integration import CourseLink, MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from contracts.people import Contact, Program
from ledger.enrollments_tmp import Enrollment
from ledger.policy import Policy
from ledger.purchase import Standing

Mode = Literal["api", "manual"]

PROVIDER = "milady"
_SEATS = uuid5(NAMESPACE_URL, "urn:bursar:milady")


def enrollment_id(student_id: UUID, program_slug: str) -> UUID:
    """An enrollment has one id, whoever hears of it first."""
    return uuid5(_SEATS, f"{student_id}/{program_slug}")


def is_miladys(program: Program | None) -> bool:
    return program is not None and (program.provider or "").strip().lower() == PROVIDER


class Status(StrEnum):
    WANTED = "wanted"
    ENROLLED = "enrolled"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"
    MANUAL = "manual"
    """Waits for an admin, who enrolls by hand and confirms."""


class Wish(StrEnum):
    ENROLLED = "enrolled"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    ENROLL = "enroll"
    WITHDRAW = "withdraw"


_STEP_TO = {Wish.ENROLLED: Step.ENROLL, Wish.WITHDRAWN: Step.WITHDRAW}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the facts want for an enrollment. `wish` is None while the enrollment was never paid for."""

    standing: Standing
    wish: Wish | None
    reason: str | None
    purchase_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A row of milady_enrollments, as far as decisions go. `generation` counts the steps, from 1."""

    status: Status
    wish: Wish
    reason: str | None = None
    purchase_id: UUID | None = None
    step: Step | None = None
    failed_step: Step | None = None
    failure: str | None = None
    generation: int = 0
    announced: bool = False
    milady_enrollment_id: str | None = None
    links: tuple[CourseLink, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """The place becomes `place`; `says` tells the others. A higher generation than before is a step to be done."""

    place: Place
    publishes: type[MiladyEvent] | None = None


class NotNow(Exception):
    """What an admin asks for does not fit the place as it stands. `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def wanted(*, enrollment: Enrollment, policy: Policy) -> Wanted:
    """A paused enrollment keeps its place."""
    purchase, standing, reason = enrollment.decisive(policy)
    wish = None
    if standing in (Standing.ACTIVE, Standing.PAUSED):
        wish, reason = Wish.ENROLLED, None
    elif enrollment.opened:
        wish = Wish.WITHDRAWN
    return Wanted(standing=standing, wish=wish, reason=reason, purchase_id=purchase.id)


def contact_of(enrollment: Enrollment, policy: Policy) -> Contact | None:
    """The student's, if a payment has told it (a sponsor's contact is not the student's)."""
    purchase, _, _ = enrollment.decisive(policy)
    return purchase.contact if purchase.payer == "student" else None


def follow(*, wanted: Wanted, known: Place | None, served: bool, mode: Mode) -> Change | None:
    """What the facts change. `served`: the program is one of Milady's that we enroll for now. None: nothing."""
    if wanted.wish is None or (known is None and not served):
        return None
    if known is None:
        status = Status.WANTED if wanted.wish is Wish.ENROLLED else Status.WITHDRAWN
        known_or_new = Place(status=status, wish=wanted.wish)
    else:
        known_or_new = known
    after = replace(known_or_new, wish=wanted.wish, reason=wanted.reason, purchase_id=wanted.purchase_id)
    if served or after.wish is Wish.WITHDRAWN:
        after = _go_on(after, mode)
    change = _told(known_or_new, after)
    return None if change.place == known else change


def enrolled(*, place: Place, milady_enrollment_id: str, links: tuple[CourseLink, ...], mode: Mode) -> Change:
    """Milady has enrolled the student."""
    there = replace(
        _idle(place), status=Status.ENROLLED, milady_enrollment_id=milady_enrollment_id, links=links, announced=False
    )
    return _told(place, _go_on(there, mode))


def withdrawn(*, place: Place, milady_enrollment_id: str | None, mode: Mode) -> Change:
    """Milady has no active enrollment of the student any more. None: it never had one that we know of."""
    known = milady_enrollment_id or place.milady_enrollment_id
    gone = replace(_idle(place), status=Status.WITHDRAWN, milady_enrollment_id=known, links=())
    change = _told(place, _go_on(gone, mode))
    return replace(change, publishes=MiladyWithdrawn) if known else change


def refused(*, place: Place, code: str, mode: Mode) -> Change:
    """The step will not be done: Milady refuses, or was away for too long. An admin has to look, unless the wish has
    turned meanwhile and the opposite step settles it."""
    failed = replace(_idle(place), status=Status.FAILED, failed_step=place.step, failure=code)
    after = _go_on(failed, mode)
    return Change(place=after, publishes=MiladyFailed if after == failed else None)


def overtaken(*, place: Place, mode: Mode) -> Change:
    """The step was not begun, because it is not wished (or not ours to do) any more."""
    return _told(place, _go_on(_idle(place), mode))


def retry(*, place: Place, mode: Mode) -> Change:
    """An admin has mended what was wrong. Raises NotNow where nothing has failed."""
    if place.step is not None or (place.status, mode) not in (
        (Status.FAILED, "api"),
        (Status.FAILED, "manual"),
        (Status.MANUAL, "api"),
    ):
        raise NotNow("nothing_to_retry")
    status = Status.WANTED if place.wish is Wish.ENROLLED else place.status
    return _told(place, _go_on(replace(_idle(place), status=status), mode))


def confirm_enrolled(*, place: Place, milady_enrollment_id: str, links: tuple[CourseLink, ...], mode: Mode) -> Change:
    """An admin has enrolled the student by hand. Raises NotNow when that cannot be."""
    if place.status is Status.ENROLLED:
        if place.milady_enrollment_id != milady_enrollment_id:
            raise NotNow("already_enrolled")
        return Change(place=replace(place, links=links or place.links))
    if place.step is not None:
        raise NotNow("step_in_progress")
    return enrolled(place=place, milady_enrollment_id=milady_enrollment_id, links=links, mode=mode)


def confirm_withdrawn(*, place: Place, mode: Mode) -> Change:
    """An admin has withdrawn the student by hand. Raises NotNow when that was not wished."""
    if place.status is Status.WITHDRAWN:
        return Change(place=place)
    if place.wish is not Wish.WITHDRAWN:
        raise NotNow("not_withdrawn")
    if place.step is not None:
        raise NotNow("step_in_progress")
    return withdrawn(place=place, milady_enrollment_id=None, mode=mode)


def _go_on(place: Place, mode: Mode) -> Place:
    """Takes the next step, if there is one to take."""
    if place.step is not None or place.status.value == place.wish.value:
        return place
    step = _STEP_TO[place.wish]
    if place.status is Status.FAILED and place.failed_step is step:
        return place
    if place.status is Status.MANUAL and step is Step.ENROLL:
        return place
    if mode == "manual":
        return _leave_to_a_human(place, step)
    if step is Step.ENROLL:
        again = place.status is Status.WITHDRAWN  # a new enrollment: what was is history
        place = replace(
            place,
            status=Status.WANTED,
            milady_enrollment_id=None if again else place.milady_enrollment_id,
            links=() if again else place.links,
        )
    return replace(place, step=step, failed_step=None, failure=None, generation=place.generation + 1)


def _leave_to_a_human(place: Place, step: Step) -> Place:
    if step is Step.ENROLL:
        return replace(place, status=Status.MANUAL, milady_enrollment_id=None, links=())
    if place.status in (Status.MANUAL, Status.WANTED):
        return replace(place, status=Status.WITHDRAWN)  # nobody has told us that it was ever done
    return place


def _idle(place: Place) -> Place:
    return replace(place, step=None, failed_step=None, failure=None)


def _told(before: Place, after: Place) -> Change:
    """An enrollment is told once it is there, still wished, and nothing is under way that may end it."""
    there = after.status is Status.ENROLLED and after.wish is Wish.ENROLLED and after.step is None
    if there and not after.announced:
        return Change(place=replace(after, announced=True), publishes=MiladyEnrolled)
    return Change(place=after)
