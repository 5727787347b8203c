"""What reporting stores about students: events without personal data, and the audit trail, in which staff may have
given reasons in their own words."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.personal_data.declaration import Person, PersonalData, PersonalTable
from reporting.tables import audit_records, events, invariant_breaks

_ERASE = text("SELECT records, events FROM erase_reasons(CAST(:ids AS uuid[]))")


async def erase_reasons(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    """Of what is about the student or one of their purchases. The rest of a record stays, and its hash."""
    ids = [id for each in sorted(person.identifiers) if (id := _uuid(each)) is not None]
    row = (await db.execute(_ERASE, {"ids": ids})).one()
    return {"audit_records": row.records, "events": row.events}


def _uuid(identifier: str) -> UUID | None:
    try:
        return UUID(identifier)
    except ValueError:
        return None


PERSONAL = PersonalData(
    tables=(PersonalTable(table=events), PersonalTable(table=audit_records), PersonalTable(table=invariant_breaks)),
    erase=erase_reasons,
)
