"""Reconciliation, replays, and how many processes of a kind should run, for admins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import func, select

from contracts.audit import Act
from contracts.registry import PUBLISHED_BY
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.auth import Admin
from kit.http.openapi import example
from kit.http.problems import INVALID_PERIOD, INVALID_REQUEST
from webhook_gateway.admin_context import CurrentContext, Reason
from webhook_gateway.fetcher import StripeNotConfigured, StripeRejected
from webhook_gateway.problems import (
    NOT_SCALABLE,
    RECONCILING,
    STRIPE_NOT_CONFIGURED,
    STRIPE_REJECTED,
    TOO_MANY_EVENTS,
)
from webhook_gateway.replay import TooMany, replay
from webhook_gateway.tables import Lane, journal_due
from webhook_gateway.topology import SERVICE

router = APIRouter(prefix="/api/admin", tags=["operations"])

MOST_NAMED = 1_000
MOST_REPLAYED = 50_000
MOST_REPLICAS = 50
COUNTED = 100_000
MOST_DIFFERING = 1_000
LONGEST_PERIOD = timedelta(days=40)
"""More than Stripe lists events for (30), and than objects are compared for in the background (35)."""

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

SCALABLE = tuple(
    sorted(name for service in PUBLISHED_BY if service != "other systems" for name in (service, f"{service}-relay"))
)
"""Consumers and relays: any number of them can run."""


def _in_range(time: datetime) -> datetime:
    """Other times cannot be converted to UTC, or not be added to."""
    if not EARLIEST <= time < LATEST:
        raise ValueError("not in this century")
    return time


StripeId = Annotated[str, Field(min_length=1, max_length=255)]


Time = Annotated[AwareDatetime, AfterValidator(_in_range)]


class Period(BaseModel, json_schema_extra=example(since="2027-01-01T00:00:00Z")):
    model_config = ConfigDict(extra="forbid")

    since: Time
    until: Time | None = None


class Reconciliation(BaseModel):
    """What the comparison has found."""

    listed: int = Field(description="events that Stripe lists")
    restored: int = Field(description="events that were missing, or built from an object, and are published now")
    conflicts: int = Field(description="other events with the same ids are journaled")
    refused: int = Field(description="of another mode or account")
    compared: int = Field(description="objects of Stripe, such as charges")
    differing: list[str] = Field(description="ids of objects that differ from what was published; at most 1,000")


class ReplayOrder(BaseModel, json_schema_extra=example(types=["charge.refunded"], since="2027-01-01T00:00:00Z")):
    """Events that match all that is given. `types`: of Stripe, such as charge.refunded."""

    model_config = ConfigDict(extra="forbid")

    event_ids: list[StripeId] | None = Field(default=None, min_length=1, max_length=MOST_NAMED)
    since: Time | None = Field(default=None, description="received at this time or later")
    types: list[StripeId] = Field(default_factory=list, max_length=100)


class Replays(BaseModel):
    events: int = Field(description="how many are published again; when asked how it goes, how many are still due")


class Scaling(BaseModel, json_schema_extra=example(process="enrollment", replicas=3, reason="Start of the term.")):
    model_config = ConfigDict(extra="forbid")

    process: str = Field(max_length=100, description="<service> (its consumers) or <service>-relay")
    replicas: int = Field(ge=0, le=MOST_REPLICAS)
    platform: Literal["compose", "kubernetes"] = "compose"
    reason: Reason | None = None


class ScalingCommand(BaseModel):
    command: list[str] = Field(description="to be run where the platform is administered")


@router.post("/reconciliations")
async def request_reconciliation(body: Period, _: Admin, context: CurrentContext) -> Reconciliation:
    """Journals the events of a period that Stripe lists and nobody delivered, and compares its objects with what was
    published about them. The relay publishes what was missing. One at a time. Recorded in the audit trail."""
    now = utc_now()
    until = body.until or now
    if until > now or not body.since < until <= body.since + LONGEST_PERIOD:
        detail = f"`since` must be before `until`, by at most {LONGEST_PERIOD.days} days, and not in the future."
        raise INVALID_PERIOD(detail)
    if context.reconciling.locked():
        raise RECONCILING(headers={"Retry-After": "5"})
    try:
        async with context.reconciling:
            events, objects = await context.reconcile(body.since, body.until, audit.current_origin().actor)
    except StripeNotConfigured:
        raise STRIPE_NOT_CONFIGURED() from None
    except StripeRejected as error:
        raise STRIPE_REJECTED(f"Stripe has refused to answer: {error}.") from None
    return Reconciliation(
        listed=events.listed,
        restored=events.restored + objects.restored.total(),
        conflicts=events.conflicts,
        refused=events.refused + objects.refused,
        compared=objects.objects.total(),
        differing=sorted(id for _, id in objects.differing)[:MOST_DIFFERING],
    )


@router.post("/replays", status_code=202)
async def order_replay(body: ReplayOrder, _: Admin, context: CurrentContext) -> Replays:
    """Publishes journaled events again, after live ones and at a limited rate; consumers ignore those that they have
    processed. Recorded in the audit trail."""
    if body.event_ids is None and body.since is None:
        raise INVALID_REQUEST("Name `event_ids` or `since`.")
    origin = audit.current_origin()
    try:
        count = await replay(
            context.database,
            event_ids=body.event_ids,
            since=body.since,
            types=body.types,
            most=MOST_REPLAYED,
            actor=origin.actor,
            address=origin.address,
        )
    except TooMany:
        detail = f"More than {MOST_REPLAYED} events are selected: choose a later `since`, or `types`."
        raise TOO_MANY_EVENTS(detail) from None
    return Replays(events=count)


@router.get("/replays")
async def read_replays(_: Admin, context: CurrentContext) -> Replays:
    """How many replayed events are still to be published; counted up to 100,000."""
    due = select(journal_due.c.event_id).where(journal_due.c.lane == Lane.REPLAY).limit(COUNTED).subquery()
    async with context.database.transaction() as db:
        count = await db.scalar(select(func.count()).select_from(due))
    return Replays(events=count or 0)


@router.post("/scalings")
async def order_scaling(body: Scaling, _: Admin, context: CurrentContext) -> ScalingCommand:
    """Records in the audit trail how many processes shall run, and returns the platform's command for it. It runs
    nothing: no process of ours may start or stop others."""
    if body.process not in SCALABLE:
        raise NOT_SCALABLE(allowed=list(SCALABLE))
    after = {"replicas": body.replicas, "platform": body.platform}
    async with context.database.transaction() as db:
        act = Act.of("process.scaled", "process", body.process, after=after, reason=body.reason)
        await audit.record(UnitOfWork(db=db, source=SERVICE, now=utc_now()), act)
    if body.platform == "kubernetes":
        return ScalingCommand(command=["kubectl", "scale", f"deployment/{body.process}", f"--replicas={body.replicas}"])
    scale = ["--no-recreate", "--no-deps", "--scale", f"{body.process}={body.replicas}", body.process]
    return ScalingCommand(command=["docker", "compose", "up", "--detach", *scale])
