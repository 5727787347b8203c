"""Every change by an admin leaves an audit record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.audit import AuditedRoutes, mutating_admin_routes
from tests.checkout.external_steps import events_about, external_intent, external_page
from tests.checkout.installment_steps import School
from tests.checkout.payment_steps import paid
from tests.checkout.service import Service, bearer

SCHEDULES = "/api/admin/payments/schedules"


def routes_of(school: School) -> AuditedRoutes:
    return AuditedRoutes(school.service.server.owner_url, school.admin)


async def catalog(routes: AuditedRoutes) -> None:
    slug, program = f"item-{uuid4().hex[:8]}", f"program-{uuid4().hex[:8]}"
    item = {"kind": "course", "slug": slug, "name": "A course", "price": 900}
    created = await routes.call("POST", "/api/admin/items", "item.created", json=item)
    assert created.act.before is None and (created.act.after or {})["slug"] == slug
    changed = await routes.call("PATCH", "/api/admin/items/{slug}", "price.changed", slug, json={"price": 950})
    assert changed.act.before == {"price": "900.00", "revision": 1} or "price" in (changed.act.before or {})
    renamed = await routes.call("PATCH", "/api/admin/items/{slug}", "item.changed", slug, json={"name": "Another"})
    assert (renamed.act.before or {})["name"] == "A course" and "price" not in (renamed.act.after or {})
    await routes.call("DELETE", "/api/admin/items/{slug}", "item.deactivated", slug)
    product = {
        "product_type": "course",
        "product_id": slug + "-x",
        "product_name": "Theirs",
        "price": 10,
        "currency": "usd",
    }
    await routes.call("POST", "/api/admin/payments/products", "item.registered", json=product)
    body = {"slug": program, "name": "A program", "price": 900}
    await routes.call("POST", "/api/admin/programs", "program.created", json=body)
    await routes.call("PATCH", "/api/admin/programs/{slug}", "program.changed", program, json={"price": 950})


async def sponsors_and_promotions(routes: AuditedRoutes) -> None:
    code = f"S{uuid4().hex[:8].upper()}"
    sponsor = {"code": code, "name": "Acme", "finance_email": "bills@acme.example"}
    await routes.call("POST", "/api/admin/sponsors", "sponsor.created", json=sponsor)
    changed = await routes.call("PATCH", "/api/admin/sponsors/{code}", "sponsor.changed", code, json={"active": False})
    assert (changed.act.before, changed.act.after) == ({"active": True}, {"active": False})
    link = "/api/admin/sponsors/{code}/link"
    made = await routes.call("POST", link, "sponsor.link_created", code)
    assert "token" not in str(made.act) and "http" not in str(made.act)
    await routes.call("DELETE", link, "sponsor.link_revoked", code)
    await routes.call("POST", "/api/admin/promotions", "promotion.created", json={"code": code, "percent_off": 10})
    path = "/api/admin/promotions/{code}"
    changed = await routes.call("PATCH", path, "promotion.changed", code, json={"percent_off": 20})
    assert (changed.act.before, changed.act.after) == ({"percent_off": 10}, {"percent_off": 20})


async def installments(routes: AuditedRoutes, school: School) -> None:
    enrollment = await school.started()
    purchase = await school.service.purchase(school.student)
    _first, second, third, *_ = (each["id"] for each in enrollment["schedules"])
    due_at = (datetime.now(UTC) + timedelta(days=60)).isoformat()
    path = f"{SCHEDULES}/{{id}}"
    moved = await routes.call("PATCH", path, "due_date.changed", second, json={"due_at": due_at})
    assert (moved.act.purchase_id, moved.act.student_id) == (purchase["id"], school.student)
    assert "due_at" in (moved.act.before or {}) and "due_at" in (moved.act.after or {})
    await routes.call("POST", f"{path}/pause", "installment.paused", second)
    await routes.call("POST", f"{path}/resume", "installment.resumed", second)
    paid_by_hand = {"payment_method": "cash", "transaction_reference": uuid4().hex}
    await routes.call("POST", f"{path}/record-payment", "installment.paid", third, json=paid_by_hand)
    resume = f"{SCHEDULES}/{{purchase_id}}/resume-collection"
    await routes.call("POST", resume, "collection.resumed", purchase["id"])
    await school.deliver()
    cancel = "/api/admin/enrollments/{id}/cancel"
    canceled = await routes.call("POST", cancel, "enrollment.canceled", purchase["id"], json={"reason": "moved away"})
    assert canceled.act.reason == "moved away"
    await routes.call("POST", "/api/admin/test-clock/advance", "clock.advanced", json={"seconds": 1})


async def payments_and_refunds(routes: AuditedRoutes, school: School) -> None:
    service, student = school.service, uuid4()
    row = await paid(service, student)
    asked = {"payment_intent_id": row["stripe_payment_intent_id"], "reason": "moved"}
    made = await service.call("POST", "/api/payments/request-refund/", json=asked, headers=bearer("student", student))
    decide = "/api/admin/refund-requests/{request_id}/decide"
    body = {"decision": "reject", "note": "too late"}
    decided = await routes.call("POST", decide, "refund.decided", made.json()["id"], json=body)
    assert (decided.act.purchase_id, decided.act.reason) == (row["purchase_id"], "too late")

    for action, sent in (("assign", {"student_id": str(uuid4()), "item": "cpr"}), ("refund", None)):
        intent = await external_intent(service, amount=57_500)
        await service.deliver(*await events_about(service, intent))
        (unmatched,) = await service.rows("SELECT id FROM unmatched_payments WHERE :ref = ANY(refs)", ref=intent)
        path = f"/api/admin/unmatched-payments/{{id}}/{action}"
        settled = await routes.call("POST", path, f"payment.{action}ed", unmatched["id"], json=sent)
        assert intent in settled.act.references

    session = await external_page(service, {"student_id": str(student), "program_slug": "hvac"}, amount=7_500)
    await service.deliver(*await events_about(service, session))
    (underpaid,) = await service.rows("SELECT id FROM purchases WHERE shortfall > 0 AND student_id = :s", s=student)
    accept = "/api/admin/purchases/{id}/accept"
    accepted = await routes.call("POST", accept, "underpayment.accepted", underpaid["id"], json={"reason": "by phone"})
    assert accepted.act.reason == "by phone"

    assignment = {"case_manager_id": str(uuid4()), "reason": "on parental leave"}
    path = "/api/admin/students/{id}/case-manager"
    assigned = await routes.call("PUT", path, "case_manager.assigned", student, json=assignment)
    assert assigned.act.reason == "on parental leave"

    contact = {"email": "ada@example.org", "name": "Ada"}
    await routes.call("PUT", "/api/admin/students/{id}/contact", "contact.changed", student, json=contact)
    await routes.call("PUT", "/api/admin/students/{id}/contact", "contact.changed", other := uuid4(), json=contact)
    await routes.call("POST", "/api/admin/students/{id}/erasure", "student.erasure_requested", other)


async def test_every_admin_route_leaves_an_audit_record(school: School) -> None:
    routes = routes_of(school)
    await catalog(routes)
    await sponsors_and_promotions(routes)
    await installments(routes, school)
    await payments_and_refunds(routes, school)
    assert routes.called == mutating_admin_routes(school.app)


async def test_a_refund_by_an_admin_and_a_purchase_for_a_student_leave_one_each(school: School) -> None:
    routes, student = routes_of(school), uuid4()
    row = await paid(school.service, student)
    body = {"amount": 100, "reason": "a discount by phone"}
    refunded = await routes.call("POST", "/api/payments/{payment_id}/refund", "refund.created", row["id"], json=body)
    assert (refunded.act.student_id, refunded.act.reason) == (student, "a discount by phone")
    assert row["stripe_payment_intent_id"] in refunded.act.references
    body = {"product_id": "barber-apprenticeship", "user_id": str(student)}
    bought = await routes.call("POST", "/api/enrollments", "purchase.created", json=body)
    assert bought.act.student_id == student


async def test_what_students_do_leaves_none(service: Service) -> None:
    student = uuid4()
    assert (await service.buy(student)).is_success
    about = "SELECT routing_key FROM outbox_messages WHERE convert_from(body, 'UTF8') LIKE :student"
    published = {row["routing_key"] for row in await service.rows(about, student=f"%{student}%")}
    assert published and "audit.recorded.v1" not in published
