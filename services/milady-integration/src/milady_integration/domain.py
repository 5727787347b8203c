"""How a provider enrollment follows the student's enrollment. Pure: plain data in, decisions out.

`desired_state` is what the payment facts ask for, `status` what is known to be true at Milady, `step` the request in
progress that closes the gap. There is one step at a time per enrollment and its outcome decides about the next, so the
last desired state wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.milady_integration import CourseLink, MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from contracts.people import Program
from ledger.facts import Facts
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.standing import Standing
from ledger.verdict import SUPERSEDED, Verdict, verdicts

Mode = Literal["api", "manual"]

PROVIDER = "milady"


def is_milady_program(program: Program | None) -> bool:
    return program is not None and (program.provider or "").strip().lower() == PROVIDER


class Status(StrEnum):
    WANTED = "wanted"
    ENROLLED = "enrolled"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"
    MANUAL = "manual"
    """Waits for an admin to enroll the student by hand and confirm it."""


class DesiredState(StrEnum):
    ENROLLED = "enrolled"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    ENROLL = "enroll"
    WITHDRAW = "withdraw"


_STEP_TO = {DesiredState.ENROLLED: Step.ENROLL, DesiredState.WITHDRAWN: Step.WITHDRAW}


@dataclass(frozen=True, kw_only=True)
class EnrollmentRecord:
    """A row of `enrollments`. `desired_state` is None if the enrollment was never paid for."""

    id: UUID
    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str | None
    provider: str | None
    standing: Standing
    desired_state: DesiredState | None
    reason: str | None
    purchase_id: UUID | None
    contact_name: str | None
    contact_email: str | None

    @property
    def program(self) -> Program:
        return Program(slug=self.program_slug, id=self.program_id, name=self.program_name, provider=self.provider)


@dataclass(frozen=True, kw_only=True)
class ProviderEnrollment:
    """A row of `provider_enrollments`: `generation` counts its steps, `revision` its events, both from 1."""

    status: Status
    desired_state: DesiredState
    reason: str | None = None
    purchase_id: UUID | None = None
    step: Step | None = None
    failed_step: Step | None = None
    failure: str | None = None
    generation: int = 0
    announced: bool = False
    milady_enrollment_id: str | None = None
    links: tuple[CourseLink, ...] = ()
    revision: int = 0


@dataclass(frozen=True, kw_only=True)
class MiladyProgram:
    """`program_id` is None until an event has named it: an admin may add a program before it is sold."""

    slug: str
    program_id: str | None
    course_ids: tuple[str, ...]
    is_active: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """The row becomes `after`; `event` is published. A generation higher than before is a job to enqueue."""

    after: ProviderEnrollment
    event: type[MiladyEvent] | None = None


class InvalidTransition(Exception):
    """An admin's request does not fit the state of the provider enrollment. `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def wanted(facts: Facts, policy: Policy = DEFAULT_POLICY) -> Mapping[UUID, EnrollmentRecord]:
    """The rows of `enrollments` that the facts ask for: one for every student and program that they ever named."""
    records = (_record(verdict) for verdict in verdicts(facts, policy).values())
    return {record.id: record for record in records}


def _record(verdict: Verdict) -> EnrollmentRecord:
    """A paused enrollment stays enrolled at Milady; one that was paid for and is not active is withdrawn."""
    desired, reason = None, verdict.reason
    if verdict.standing in (Standing.ACTIVE, Standing.PAUSED):
        desired, reason = DesiredState.ENROLLED, None
    elif verdict.opened or verdict.reason == SUPERSEDED:
        desired = DesiredState.WITHDRAWN
    # a sponsor's contact is not the student's
    contact = verdict.purchase.contact if verdict.purchase.payer == "student" else None
    program = verdict.program
    return EnrollmentRecord(
        id=verdict.enrollment_id,
        student_id=verdict.student_id,
        program_slug=program.slug,
        program_id=program.id,
        program_name=program.name,
        provider=program.provider,
        standing=verdict.standing,
        desired_state=desired,
        reason=reason,
        purchase_id=verdict.purchase.id,
        contact_name=contact.name if contact else None,
        contact_email=contact.email if contact else None,
    )


def becomes(before: EnrollmentRecord | None, wanted: EnrollmentRecord) -> EnrollmentRecord:
    """The row after the facts: they decide all of its columns."""
    return wanted


def reconcile(
    *, enrollment: EnrollmentRecord, existing: ProviderEnrollment | None, served: bool, mode: Mode
) -> Change | None:
    """What the enrollment changes about the provider enrollment; None: nothing.

    `served`: the program is one of Milady's and active, so that students are enrolled in it.
    """
    if existing is None and (enrollment.desired_state is None or not served):
        return None
    # a later event may have taken away what was paid for
    desired = enrollment.desired_state or DesiredState.WITHDRAWN
    if existing is None:
        status = Status.WANTED if desired is DesiredState.ENROLLED else Status.WITHDRAWN
        before = ProviderEnrollment(status=status, desired_state=desired)
    else:
        before = existing
    after = replace(before, desired_state=desired, reason=enrollment.reason, purchase_id=enrollment.purchase_id)
    if served or desired is DesiredState.WITHDRAWN:
        after = _with_next_step(after, mode)
    change = _announced(after)
    return None if change.after == existing else change


def enrolled(
    *, existing: ProviderEnrollment, milady_enrollment_id: str, links: tuple[CourseLink, ...], mode: Mode
) -> Change:
    """Milady has enrolled the student."""
    after = replace(
        _without_step(existing),
        status=Status.ENROLLED,
        milady_enrollment_id=milady_enrollment_id,
        links=links,
        announced=False,
    )
    return _announced(_with_next_step(after, mode))


def withdrawn(*, existing: ProviderEnrollment, milady_enrollment_id: str | None, mode: Mode) -> Change:
    """Milady has no active enrollment of the student anymore. `milady_enrollment_id` is None if none was found."""
    ended = milady_enrollment_id or existing.milady_enrollment_id
    after = replace(_without_step(existing), status=Status.WITHDRAWN, milady_enrollment_id=ended, links=())
    change = _announced(_with_next_step(after, mode))
    return replace(change, event=MiladyWithdrawn) if ended else change


def refused(*, existing: ProviderEnrollment, code: str, mode: Mode) -> Change:
    """The step has failed for good: Milady refused it, or was unavailable for too long.

    An admin has to look, unless the desired state has changed meanwhile and the opposite step corrects it.
    """
    failed = replace(_without_step(existing), status=Status.FAILED, failed_step=existing.step, failure=code)
    after = _with_next_step(failed, mode)
    return Change(after=after, event=MiladyFailed if after == failed else None)


def canceled(*, existing: ProviderEnrollment, mode: Mode) -> Change:
    """The step was canceled before its first attempt: its outcome is no longer desired, or there is no API."""
    return _announced(_with_next_step(_without_step(existing), mode))


def retry(*, existing: ProviderEnrollment, mode: Mode) -> Change:
    """An admin has fixed the cause of a failure. Raises InvalidTransition if nothing has failed."""
    if existing.step is not None or (existing.status, mode) not in (
        (Status.FAILED, "api"),
        (Status.FAILED, "manual"),
        (Status.MANUAL, "api"),
    ):
        raise InvalidTransition("nothing_to_retry")
    status = Status.WANTED if existing.desired_state is DesiredState.ENROLLED else existing.status
    return _announced(_with_next_step(replace(_without_step(existing), status=status), mode))


def confirm_enrolled(
    *, existing: ProviderEnrollment, milady_enrollment_id: str, links: tuple[CourseLink, ...], mode: Mode
) -> Change:
    """An admin has enrolled the student by hand. Raises InvalidTransition if that does not fit."""
    if existing.status is Status.ENROLLED:
        if existing.milady_enrollment_id != milady_enrollment_id:
            raise InvalidTransition("already_enrolled")
        return Change(after=replace(existing, links=links or existing.links))
    if existing.step is not None:
        raise InvalidTransition("step_in_progress")
    return enrolled(existing=existing, milady_enrollment_id=milady_enrollment_id, links=links, mode=mode)


def confirm_withdrawn(*, existing: ProviderEnrollment, mode: Mode) -> Change:
    """An admin has withdrawn the student by hand. Raises InvalidTransition if the student is to stay enrolled."""
    if existing.status is Status.WITHDRAWN:
        return Change(after=existing)
    if existing.desired_state is not DesiredState.WITHDRAWN:
        raise InvalidTransition("not_withdrawn")
    if existing.step is not None:
        raise InvalidTransition("step_in_progress")
    return withdrawn(existing=existing, milady_enrollment_id=None, mode=mode)


def _with_next_step(current: ProviderEnrollment, mode: Mode) -> ProviderEnrollment:
    """Starts the step that leads to the desired state, if there is one to start."""
    if current.step is not None or current.status.value == current.desired_state.value:
        return current
    step = _STEP_TO[current.desired_state]
    if current.status is Status.FAILED and current.failed_step is step:
        return current
    if current.status is Status.MANUAL and step is Step.ENROLL:
        return current
    if mode == "manual":
        return _left_to_admin(current, step)
    if step is Step.ENROLL:
        again = current.status is Status.WITHDRAWN  # a new enrollment, under a new id
        current = replace(
            current,
            status=Status.WANTED,
            milady_enrollment_id=None if again else current.milady_enrollment_id,
            links=() if again else current.links,
        )
    return replace(current, step=step, failed_step=None, failure=None, generation=current.generation + 1)


def _left_to_admin(current: ProviderEnrollment, step: Step) -> ProviderEnrollment:
    if step is Step.ENROLL:
        return replace(current, status=Status.MANUAL, milady_enrollment_id=None, links=())
    if current.status in (Status.MANUAL, Status.WANTED):
        return replace(current, status=Status.WITHDRAWN)  # nobody has confirmed that it ever existed
    return current


def _without_step(current: ProviderEnrollment) -> ProviderEnrollment:
    return replace(current, step=None, failed_step=None, failure=None)


def _announced(after: ProviderEnrollment) -> Change:
    """MiladyEnrolled is published once the enrollment exists, is still desired, and no step may end it."""
    stays = (after.status, after.desired_state) == (Status.ENROLLED, DesiredState.ENROLLED) and after.step is None
    if stays and not after.announced:
        return Change(after=replace(after, announced=True), event=MiladyEnrolled)
    return Change(after=after)
