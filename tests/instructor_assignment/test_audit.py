"""Every change by an admin leaves an audit record."""

from __future__ import annotations

from tests.audit import AuditedRoutes, mutating_admin_routes
from tests.instructor_assignment.harness import Service, new_program

LIST = "/api/admin/instructors"


async def test_every_admin_route_leaves_an_audit_record(service: Service) -> None:
    routes = AuditedRoutes(service.server.owner_url, service.call)
    body = {"program_slug": new_program().slug, "name": "Ada", "capacity": 2}
    created = await routes.call("POST", LIST, "instructor.created", json=body)
    id = created.act.object_id
    assert (created.act.before, created.act.after and created.act.after["capacity"]) == (None, 2)
    change = {"capacity": 3}
    changed = await routes.call("PATCH", f"{LIST}/{{instructor_id}}", "instructor.changed", id, json=change)
    assert (changed.act.before, changed.act.after) == ({"capacity": 2}, {"capacity": 3})
    removed = await routes.call("DELETE", f"{LIST}/{{instructor_id}}", "instructor.removed", id)
    assert removed.act.before and removed.act.before["name"] == "Ada"
    assert routes.called == mutating_admin_routes(service.app)


async def test_what_was_refused_leaves_none(service: Service) -> None:
    counted = "SELECT count(*) AS n FROM outbox_messages WHERE routing_key = 'audit.recorded.v1'"
    before = await service.rows(counted)
    for role in ("student", "case_manager"):
        assert (await service.call("POST", LIST, role=role, json={})).status_code == 403
    assert (await service.call("POST", LIST, json={})).status_code == 422
    assert await service.rows(counted) == before
