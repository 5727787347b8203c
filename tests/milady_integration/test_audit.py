"""Every change by an admin leaves an audit record."""

from __future__ import annotations

from tests.audit import AuditedRoutes, mutating_admin_routes
from tests.milady_integration.harness import COURSES, Sandbox, Service, Student, new_program

ADMIN_API = "/api/admin/milady"


async def test_every_admin_route_leaves_an_audit_record(service: Service, by_hand: Service, sandbox: Sandbox) -> None:
    routes = AuditedRoutes(service.server.owner_url, service.call)
    program = new_program()
    path, body = f"{ADMIN_API}/programs/{{program_slug}}", {"title": "T", "courses": COURSES}
    saved = await routes.call("PUT", path, "provider_program.changed", program.slug, json=body)
    assert saved.act.before is None
    again = await routes.call("PUT", path, "provider_program.changed", program.slug, json={**body, "title": "U"})
    assert (again.act.before or {})["title"] == "T" and (again.act.after or {})["title"] == "U"

    refused, confirmed, requested = (Student(program) for _ in range(3))
    await service.deliver(refused.paid())
    sandbox.faults({"kind": "status", "status": 422})
    await service.run_jobs()
    sandbox.reset()
    retried = await routes.call(
        "POST", f"{ADMIN_API}/retry", "provider_enrollment.retried", json={"studentId": str(refused.id)}
    )
    assert (retried.act.student_id, retried.act.purchase_id) == (refused.id, refused.purchase_id)
    assert retried.act.before == {"status": "failed"}

    await by_hand.deliver(confirmed.paid())
    await by_hand.run_jobs()
    hand = AuditedRoutes(service.server.owner_url, by_hand.call)
    body = {"studentId": str(confirmed.id), "programSlug": program.slug, "miladyEnrollmentId": "CIMA-7"}
    done = await hand.call("POST", f"{ADMIN_API}/confirm", "provider_enrollment.confirmed", json=body)
    assert (done.act.before, done.act.after) == ({"status": "manual"}, {"status": "enrolled"})
    assert routes.called | hand.called == mutating_admin_routes(service.app)

    await service.deliver(requested.paid())
    body = {"studentId": str(requested.id), "programId": program.id}
    await routes.call("POST", "/api/milady/auto-enroll", "provider_enrollment.requested", json=body)
