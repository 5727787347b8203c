from __future__ import annotations
import asyncio
from uuid import uuid4
import pytest
from tests.checkout.membership_steps import HOUR, DAY, MONTH, Member, refused
from tests.checkout.payment_steps import PRICE, ask, paid, payment, refunds, told, read
from tests.checkout.service import ADMIN, Service, bearer, wanted

async def test_3ds_upgrade(member: Member) -> None:
    await member.join("student")
    sub = await member.subscription()
    pm = await member.sandbox.api.payment_methods.attach_async("pm_card_authenticationRequired", {"customer": sub.customer})
    await member.sandbox.api.subscriptions.update_async(sub.id, {"default_payment_method": pm.id})
    answer = await member.act("change", membership="career")
    print("A", answer.status_code, answer.text)
    await member.settle()
    print("A", [(r["tier"], r["status"]) for r in await member.rows()], await member.invoices(), await member.standing())
    assert 0

async def test_cancel_now_with_draft(member: Member) -> None:
    await member.join("student")
    await member.renewal(after=600)
    print("A", await member.invoices())
    answer = await member.act("cancel", at="now")
    print("A", answer.text)
    await member.later(2*HOUR)
    print("A", await member.invoices())
    await member.settle()
    await member.later(2*DAY, 30*DAY)
    await member.settle()
    print("A", await member.invoices())
    assert 0

async def test_pause_with_draft(member: Member) -> None:
    await member.join("student")
    await member.renewal(after=600)
    answer = await member.done("pause")
    await member.later(2*HOUR)
    await member.settle()
    print("A", await member.invoices())
    answer = await member.done("resume")
    print("A", await member.invoices(), answer["current_period_end"])
    await member.later(2*HOUR, 2*DAY)
    await member.settle()
    print("A", await member.invoices(), await member.standing())
    assert 0

async def test_deleted_customer(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    (c,) = await service.rows("SELECT stripe_customer_id FROM customers WHERE student_id = :s", s=student)
    try:
        await service.sandbox.api.customers.delete_async(c["stripe_customer_id"])
    except Exception as e:
        print("A", "delete", e)
    for m, p in (("GET", "/api/payments/methods"), ("POST", "/api/payments/billing-portal"), ("POST", "/api/payments/methods/pm_1/default"), ("DELETE", "/api/payments/methods/pm_1")):
        a = await service.call(m, p, headers=bearer("student", student))
        print("A", p, a.status_code, a.text)
    a = await service.buy(student, wanted("dsp", 4325))
    print("A buy", a.status_code, a.text)
    assert 0

async def test_refund_dates(service: Service) -> None:
    a, b = uuid4(), uuid4()
    row = await paid(service, a, card="4000000000007726")
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/refund", amount=300)
    (r,) = (await service.sandbox.api.refunds.list_async({"charge": row["stripe_charge_id"]})).data
    print("A", r.status)
    await service.sandbox.operate("/clock/advance", seconds=86400*3)
    await service.sandbox.operate(f"/refunds/{r.id}/succeed")
    heard = await told(service, a, {row["stripe_charge_id"]})
    for e in reversed(heard):
        await service.hear(e)
    (k,) = await refunds(service, row["id"])
    print("A", k["created_at"], [ (e.time, e.type, getattr(e.data,'status',None)) for e in heard])
    assert 0
