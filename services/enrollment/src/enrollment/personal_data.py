"""What enrollment stores about students: by their ids only."""

from __future__ import annotations

from enrollment.tables import enrollments, project_progress, step_progress
from kit.db.caseload import caseload
from kit.personal_data.declaration import PersonalData, PersonalTable

PERSONAL = PersonalData(
    tables=(
        PersonalTable(table=enrollments),
        PersonalTable(table=project_progress),
        PersonalTable(table=step_progress),
        PersonalTable(table=caseload),
    )
)
