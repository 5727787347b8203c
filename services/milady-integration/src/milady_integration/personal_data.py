"""What milady-integration stores about students: how they are reached, and their enrollments at the provider.

(What the provider itself has, it has to erase: see docs/runbooks/erasure.md.)
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.caseload import caseload
from kit.personal_data.declaration import Person, PersonalData, PersonalTable
from milady_integration.tables import contacts, enrollments, provider_enrollments

# The student of jobs that have not ended; of the others, the whole payload goes. An attempt may have reached the
# provider with the name: what comes under its Idempotency-Key must be the same, so the next one takes another key.
_JOBS = text(
    'UPDATE jobs SET payload = payload || \'{"name": null, "email": null, "erased": true}\''
    " WHERE payload ->> 'student_id' = :student AND coalesce(payload ->> 'name', payload ->> 'email') IS NOT NULL"
)


async def erase_jobs(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    return {"jobs": (await db.execute(_JOBS, {"student": str(person.id)})).rowcount}


PERSONAL = PersonalData(
    tables=(
        PersonalTable(table=enrollments, emptied={"contact_name": None, "contact_email": None}),
        PersonalTable(table=provider_enrollments, emptied={"links": []}),
        PersonalTable(table=contacts, deleted=True),
        PersonalTable(table=caseload),
    ),
    erase=erase_jobs,
)
