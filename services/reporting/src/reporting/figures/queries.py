"""What is counted from payments, catalog items and stored events. Periods are half-open: `since` <= time < `until`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Date, Text, cast, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.http.figures import Period, Value
from reporting.figures.definitions import PAID_TO_ENROLLED, PROCESSING, FigureName
from reporting.figures.domain import Status
from reporting.tables import catalog_items, payments

Dimension = Literal[
    "day", "week", "month", "year", "program", "kind", "category", "specialist", "sponsor", "method", "total"
]
Values = Mapping[FigureName, Value]

_PAYMENTS = text(
    """
    SELECT count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'succeeded' AND refunded > 0) AS refunded,
        count(*) FILTER (WHERE status = 'succeeded' AND disputed) AS disputed,
        (SELECT count(*) FROM payments WHERE status = 'pending') AS pending
    FROM payments WHERE occurred_at >= :since AND occurred_at < :until
    """
)
_PURCHASES = text(
    """
    WITH created AS MATERIALIZED (
        SELECT DISTINCT purchase_id FROM events
        WHERE type = 'purchase.created.v1' AND time >= :since AND time < :until
    ), judged AS (
        SELECT EXISTS (
            SELECT FROM payments WHERE payments.purchase_id = created.purchase_id AND status = 'succeeded'
        ) AS paid, EXISTS (
            SELECT FROM events
            WHERE events.purchase_id = created.purchase_id AND type = 'enrollment.activated.v1' OFFSET 0
        ) AS enrolled
        FROM created
    )
    SELECT count(*) AS created, count(*) FILTER (WHERE paid) AS paid,
        count(*) FILTER (WHERE paid AND enrolled) AS enrolled FROM judged
    """
)
# `type LIKE` beside an equal type is the condition of the partial index ix_events_figures, which PostgreSQL does not
# derive from the type: without it, the events of all time are read.
# Taught: contracts.people.ItemRef.taught.
_INSTRUCTORS = text(
    """
    WITH active AS MATERIALIZED (
        SELECT data ->> 'enrollment_id' AS enrollment_id, min(student_id::text)::uuid AS student_id,
            min(data #>> '{program,slug}') AS slug
        FROM events WHERE type = 'enrollment.activated.v1' AND type LIKE 'enrollment.%'
            AND time >= :since AND time < :until AND data #>> '{program,untaught}' IS NULL
            AND coalesce(data #>> '{program,kind}', 'program') IN ('program', 'track', 'course')
        GROUP BY 1
    )
    SELECT count(*) AS active, count(*) FILTER (WHERE EXISTS (
        SELECT FROM events WHERE events.student_id = active.student_id AND type = 'instructor.assigned.v1'
            AND data #>> '{program,slug}' = active.slug OFFSET 0
    )) AS assigned FROM active
    """
)
_PROCESSING = text(
    """
    WITH measured AS (
        SELECT (extract(epoch FROM activated.received_at - paid.received_at) * 1000)::bigint AS milliseconds
        FROM events AS activated JOIN LATERAL (
            SELECT received_at FROM events AS cause
            WHERE cause.event_id = activated.causation_id AND cause.type = 'payment.succeeded.v1' OFFSET 0
        ) AS paid ON true
        WHERE activated.type = 'enrollment.activated.v1' AND activated.type LIKE 'enrollment.%'
            AND activated.time >= :since AND activated.time < :until
    )
    SELECT avg(milliseconds)::bigint AS average,
        percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY milliseconds) AS percentiles FROM measured
    """
)
_PAID_TO_ENROLLED = text(
    """
    WITH enrolled AS MATERIALIZED (
        SELECT purchase_id, min(time) AS time FROM events
        WHERE type = 'enrollment.activated.v1' AND type LIKE 'enrollment.%' AND time >= :since AND time < :until
            AND purchase_id IS NOT NULL
        GROUP BY purchase_id
    ), measured AS (
        SELECT (extract(epoch FROM enrolled.time - paid.time) * 1000)::bigint AS milliseconds
        FROM enrolled JOIN LATERAL (
            SELECT min(occurred_at) AS time FROM payments
            WHERE payments.purchase_id = enrolled.purchase_id AND status = 'succeeded'
        ) AS paid ON paid.time <= enrolled.time
    )
    SELECT avg(milliseconds)::bigint AS average,
        percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY milliseconds) AS percentiles FROM measured
    """
)
_FAILURES_LAST_DAY = text(
    "SELECT count(*) FROM events WHERE type LIKE '%.failed.v1' AND type <> 'payment.failed.v1'"
    " AND time > CAST(:now AS timestamptz) - interval '1 day' AND time <= :now"
)


async def figures(db: AsyncConnection, period: Period, *, now: datetime) -> Values:
    paid = (await db.execute(_PAYMENTS, period.values)).one()
    bought = (await db.execute(_PURCHASES, period.values)).one()
    taught = (await db.execute(_INSTRUCTORS, period.values)).one()
    return {
        "payment_success_rate": Value.ratio(paid.succeeded, paid.succeeded + paid.failed),
        "paid_rate": Value.ratio(bought.paid, bought.created),
        "enrolled_rate": Value.ratio(bought.enrolled, bought.paid),
        "instructor_assignment_rate": Value.ratio(taught.assigned, taught.active),
        "refund_rate": Value.ratio(paid.refunded, paid.succeeded),
        "dispute_rate": Value.ratio(paid.disputed, paid.succeeded),
        **await _durations(db, PROCESSING, _PROCESSING, period),
        **await _durations(db, PAID_TO_ENROLLED, _PAID_TO_ENROLLED, period),
        "pending_payments": Value(value=paid.pending),
        "failures_last_day": Value(value=await db.scalar(_FAILURES_LAST_DAY, {"now": now})),
    }


# Any: the statement's type
async def _durations(db: AsyncConnection, names: Sequence[FigureName], statement: Any, period: Period) -> Values:
    """`names`: of the average and of the three percentiles."""
    row = (await db.execute(statement, period.values)).one()
    values = (row.average, *(row.percentiles or (None, None, None)))
    return {name: Value(value=value) for name, value in zip(names, values, strict=True)}


# --- revenue and failures ---------------------------------------------------------------------------------------------

_IN_UTC = func.timezone("UTC", payments.c.occurred_at)
_NET = payments.c.received - payments.c.refunded - payments.c.lost


def _key(by: Dimension) -> ColumnElement[Any]:
    """What the rows of one group have in common, as text; NULL: nothing is known."""
    match by:
        case "day" | "week" | "month" | "year":
            return func.to_char(cast(func.date_trunc(by, _IN_UTC), Date), "YYYY-MM-DD")
        case "program":
            return payments.c.program_slug
        case "kind":
            return payments.c.kind
        case "category":
            return catalog_items.c.category
        case "specialist":
            return cast(catalog_items.c.owner_id, Text)
        case "sponsor":
            return payments.c.funding_source
        case "method":
            return payments.c.method
        case "total":
            return literal_column("'total'")


async def revenue(db: AsyncConnection, period: Period, by: Dimension) -> Sequence[Any]:
    """Rows with key, currency, payments, purchases, gross, refunded, lost and net. Any: rows of SQLAlchemy."""
    key = _key(by).label("key")
    joined = payments.outerjoin(catalog_items, catalog_items.c.slug == payments.c.program_slug)
    statement = (
        select(
            key,
            payments.c.currency,
            func.count().label("payments"),
            func.count(payments.c.purchase_id.distinct()).label("purchases"),
            func.sum(payments.c.received).label("gross"),
            func.sum(payments.c.refunded).label("refunded"),
            func.sum(payments.c.lost).label("lost"),
            func.sum(func.greatest(_NET, 0)).label("net"),
        )
        .select_from(joined)
        .where(payments.c.status == Status.SUCCEEDED, *_within(period))
        .group_by(literal_column("1"), payments.c.currency)
        .order_by(literal_column("1"), payments.c.currency)
    )
    return (await db.execute(statement)).all()


async def failures(db: AsyncConnection, period: Period) -> Sequence[Any]:
    """Rows with code, payments, attempts and paid_later, the most frequent first. Any: rows of SQLAlchemy."""
    count = func.count()
    statement = (
        select(
            payments.c.failure_code.label("code"),
            count.label("payments"),
            func.sum(payments.c.failures).label("attempts"),
            func.count().filter(payments.c.status == Status.SUCCEEDED).label("paid_later"),
        )
        .where(payments.c.failures > 0, *_within(period))
        .group_by(payments.c.failure_code)
        .order_by(count.desc(), payments.c.failure_code)
    )
    return (await db.execute(statement)).all()


def _within(period: Period) -> tuple[ColumnElement[bool], ...]:
    return payments.c.occurred_at >= period.since, payments.c.occurred_at < period.until


# --- outcomes ---------------------------------------------------------------------------------------------------------

_OUTCOMES = text(
    """
    WITH of_period AS MATERIALIZED (
        SELECT DISTINCT data ->> 'enrollment_id' AS id FROM events
        WHERE type = 'enrollment.activated.v1' AND type LIKE 'enrollment.%' AND time >= :since AND time < :until
    ), latest AS (
        SELECT DISTINCT ON (data ->> 'enrollment_id') data ->> 'enrollment_id' AS id, type, purchase_id,
            data #>> '{program,slug}' AS slug
        FROM events WHERE type LIKE 'enrollment.%' AND data ->> 'revision' IS NOT NULL AND time >= :since
            AND data ->> 'enrollment_id' IN (SELECT id FROM of_period)
        ORDER BY data ->> 'enrollment_id', (data ->> 'revision')::int DESC
    )
    SELECT latest.slug AS program, funding.source AS funding_source, count(*) AS enrolled,
        count(*) FILTER (WHERE type IN ('enrollment.activated.v1', 'enrollment.resumed.v1')) AS active,
        count(*) FILTER (WHERE type IN ('enrollment.paused.v1', 'enrollment.pending.v1')) AS paused,
        count(*) FILTER (WHERE type = 'enrollment.completed.v1') AS completed,
        count(*) FILTER (WHERE type = 'enrollment.withdrawn.v1') AS withdrawals
    FROM latest LEFT JOIN LATERAL (
        SELECT min(funding_source) AS source FROM payments WHERE payments.purchase_id = latest.purchase_id
    ) AS funding ON true
    GROUP BY 1, 2 ORDER BY 1, 2 NULLS FIRST
    """
)


async def outcomes(db: AsyncConnection, period: Period) -> Sequence[Any]:
    """Rows with program, funding_source, enrolled, active, paused, completed and withdrawals: what has become of the
    enrollments that became active in the period. Any: rows of SQLAlchemy."""
    return (await db.execute(_OUTCOMES, period.values)).all()
