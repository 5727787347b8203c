"""Which service has which path: the table of deploy/README.md, so that a front end needs one address. Pure."""

from __future__ import annotations

import re

NOT_PUBLIC = ""
"""The admin API of the gateway has the deployment's login at the broker (decision 30): the pages call it for admins."""
_ROUTES: tuple[tuple[str, str, str], ...] = (
    ("POST", r"/api/(stripe/webhook|webhooks/stripe|webhook/stripe|payments/webhook)", "webhook-gateway"),
    (
        "",
        r"/api/admin/(dead-letters|deliveries(\.csv)?|differences|reconciliations|replays|scalings)(/.*)?",
        NOT_PUBLIC,
    ),
    ("GET", r"/api/enrollments(/[^/]+(/progress)?)?", "enrollment"),
    ("", r"/api/enrollments/[^/]+/progress/.+", "enrollment"),
    ("", r"/api/(instructors|admin/instructors|admin/instructor-assignments)(/.*)?", "instructor-assignment"),
    ("", r"/api/(milady|admin/milady)(/.*)?", "milady-integration"),
    ("", r"/api/(notifications|admin/notifications)(/.*)?", "notifications"),
    ("", r"/api/admin/(audit|figures|invariant|timelines)(/.*)?", "reporting"),
    ("", r"/api/admin/purchases/[^/]+/timeline", "reporting"),
    ("", r"/api/.*", "checkout"),
)
"""Method (empty: any), path and service; the first that fits. What several services have (`/api/me/export`,
`/api/admin/verification`) is checkout's here, as before."""
_COMPILED = tuple((method, re.compile(path), service) for method, path, service in _ROUTES)


def service_of(method: str, path: str) -> str:
    """Raises LookupError for a path that nobody has here."""
    for wanted, pattern, service in _COMPILED:
        if wanted in ("", "GET" if method == "HEAD" else method) and pattern.fullmatch(path):
            if service == NOT_PUBLIC:
                break
            return service
    raise LookupError(path)
