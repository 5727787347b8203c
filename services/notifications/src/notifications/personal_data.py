"""What notifications stores about students: how they are reached, what was sent, and the documents to attach."""

from __future__ import annotations

from kit.personal_data.declaration import PersonalData, PersonalTable
from notifications.tables import contacts, documents, notifications

PERSONAL = PersonalData(
    tables=(
        # the text is derived from the facts, and an alert's own context names the student by the id
        PersonalTable(table=notifications),
        PersonalTable(table=notifications, person="about_student_id", exported=False),
        PersonalTable(table=contacts, deleted=True),
        PersonalTable(table=documents, deleted=True, exported=False),  # checkout exports receipts and invoices
    )
)
