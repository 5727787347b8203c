"""What instructor-assignment stores about students: by their ids only, except for what they write to instructors."""

from __future__ import annotations

from instructor_assignment.tables import ai_instructor_assignments, chat_messages
from kit.db.caseload import caseload
from kit.personal_data.declaration import PersonalData, PersonalTable

PERSONAL = PersonalData(
    tables=(
        PersonalTable(table=ai_instructor_assignments),
        PersonalTable(table=chat_messages, deleted=True),
        PersonalTable(table=caseload),
    )
)
