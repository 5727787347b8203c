"""The problems that instructor-assignment answers, beside those of `kit.http.problems`. docs/errors.md lists all."""

from __future__ import annotations

from kit.http.problems import ProblemType

INSTRUCTOR_HAS_STUDENTS = ProblemType(
    409,
    "instructor_has_students",
    "The program's other instructors do not have the capacity for all of these students.",
    "Add an instructor or raise a capacity first. Or set is_active to false: students without an instructor "
    "then wait for one.",
)
UNKNOWN_INSTRUCTOR = ProblemType(
    404, "unknown_instructor", "Instructor not found.", "GET /api/admin/instructors lists them."
)
ANSWER_IN_PROGRESS = ProblemType(
    409,
    "answer_in_progress",
    "The instructor is still answering another question.",
    "Wait for that answer, then ask.",
)
INSTRUCTOR_BUSY = ProblemType(
    503, "instructor_busy", "The instructor has too many questions to answer at the moment.", "Ask again in a minute."
)
INSTRUCTOR_UNAVAILABLE = ProblemType(
    503,
    "instructor_unavailable",
    "The instructor cannot answer at the moment.",
    "The question is stored; ask it again later, with a new Idempotency-Key.",
)
NO_CURRENT_INSTRUCTOR = ProblemType(
    409,
    "no_current_instructor",
    "Nobody is assigned to answer: the student waits for an instructor, or the assignment has ended.",
    "The messages can still be read.",
)
QUESTION_LIMIT_REACHED = ProblemType(
    429, "question_limit_reached", "You have asked as many questions as a day allows.", "Ask again tomorrow (UTC)."
)
QUESTION_TOO_LONG = ProblemType(
    422, "question_too_long", "The question is too long.", "Send at most as many characters as `longest` says."
)
SCHOOL_TOKEN_LIMIT_REACHED = ProblemType(
    429,
    "school_token_limit_reached",
    "The instructors have answered as much as a day allows for all students together.",
    "Ask again tomorrow (UTC).",
)
TOKEN_LIMIT_REACHED = ProblemType(
    429,
    "token_limit_reached",
    "Your instructor has answered as much as a day allows for one student.",
    "Ask again tomorrow (UTC), or ask a shorter question.",
)
UNKNOWN_ASSIGNMENT = ProblemType(
    404, "unknown_assignment", "Assignment not found.", "GET /api/instructors/mine lists your own."
)
