"""Receipts that add up: renewals and changes of a membership, and a sponsor's partial payments."""

from __future__ import annotations

import base64
from uuid import UUID, uuid4

from tests.checkout.membership_steps import Member
from tests.checkout.pdf_text import text_of
from tests.checkout.service import ADMIN, Service, bearer
from tests.checkout.test_receipts import ISSUED, bought, only, paid

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentRefunded


async def _texts(service: Service, student: UUID) -> list[str]:
    return [text_of(base64.b64decode(event["pdf"])) for event in await service.published(student, ISSUED)]


async def test_a_renewal_has_the_list_price(member: Member) -> None:
    service = member.service
    code = f"M{uuid4().hex[:8].upper()}"
    made = await service.admin("POST", "/api/admin/promotions", code=code, percent_off=50)
    assert made.status_code < 300, made.text
    await member.join("student", promotion_code=code)
    await member.renewal()
    await member.catch_up()
    first, second = await _texts(service, member.id)
    assert f"Student Membership 19.00 USD Discount ({code}) -9.50 USD Total 9.50 USD Paid on" in first
    assert "Student Membership 19.00 USD Total 19.00 USD Paid on" in second


async def test_an_upgrade_has_its_own_price(member: Member) -> None:
    await member.join("student")
    await member.done("change", membership="career")
    await member.renewal()
    await member.catch_up()
    first, change, renewal = await _texts(member.service, member.id)
    assert "Student Membership 19.00 USD Total 19.00 USD Paid on" in first
    assert "Career Membership 30.00 USD Total 30.00 USD Paid on" in change
    assert "Career Membership 49.00 USD Total 49.00 USD Paid on" in renewal
    receipts = (await member.service.call("GET", "/api/receipts", headers=bearer("student", member.id))).json()["items"]
    assert [each["program"] for each in receipts] == ["Career Membership"] * 2 + ["Student Membership"]


async def test_a_sponsor_pays_in_parts_and_is_refunded_in_part(service: Service) -> None:
    student, purchase = await bought(
        service, payer="sponsor", funding_source="WIOA", amount=100_000, list_price=100_000
    )
    first = paid(student, purchase, amount=usd(40_000))
    second = paid(student, purchase, amount=usd(60_000), refs=PaymentRefs(manual=str(uuid4())), method="check")
    await service.deliver(first, second)
    path = f"/api/receipts/{(await only(service, purchase))['id']}/pdf"
    invoice = text_of((await service.call("GET", path, headers=bearer("admin", ADMIN))).content)
    parts = "Paid on 2026-03-01 by card 400.00 USD Still due 600.00 USD Paid on 2026-03-01 by check 600.00 USD"
    assert f"{parts} Still due 0.00 USD" in invoice
    refs = second.data.refs
    await service.publish(PaymentRefunded(refs=refs, refund_id=f"re_{purchase.hex}", amount=usd(60_000)))
    invoice = text_of((await service.call("GET", path, headers=bearer("admin", ADMIN))).content)
    assert "-600.00 USD Net paid after refunds 400.00 USD" in invoice
