from __future__ import annotations
import asyncio
from uuid import uuid4
import pytest
from tests.checkout.membership_steps import HOUR, DAY, MONTH, Member, refused
from tests.checkout.payment_steps import PRICE, ask, paid, payment, payments, refunds, told, read, stripes
from tests.checkout.service import ADMIN, Service, bearer, wanted
from contracts.money import Money

async def test_cancel_now_with_draft(member: Member) -> None:
    await member.join("student")
    await member.renewal(after=600)
    answer = await member.act("cancel", at="now")
    print("A", answer.status_code)
    await member.service.perform(member.id)
    await member.service.hear(*await member.said())
    await member.service.perform(member.id)
    print("A", await member.invoices())
    await member.later(2*HOUR)
    await member.settle()
    print("A", await member.invoices())
    assert 0

async def test_pause_with_draft(member: Member) -> None:
    await member.join("student")
    print("A", (await member.subscription())["items"].data[0].current_period_end)
    await member.renewal(after=600)
    print("A", (await member.subscription())["items"].data[0].current_period_end)
    await member.done("pause")
    print("A", (await member.subscription())["items"].data[0].current_period_end)
    await member.later(2*HOUR)
    await member.settle()
    s = await member.subscription()
    print("A", s["items"].data[0].current_period_end, s.latest_invoice, (await member.sandbox.api.invoices.retrieve_async(s.latest_invoice)).status, s.pause_collection)
    answer = await member.done("resume")
    s = await member.subscription()
    print("A", s["items"].data[0].current_period_end, s.latest_invoice, s.pause_collection)
    assert 0

async def test_refund_dates(service: Service) -> None:
    a, b = uuid4(), uuid4()
    row = await paid(service, a, card="4000000000007726")
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/refund", amount=300)
    (r,) = (await service.sandbox.api.refunds.list_async({"charge": row["stripe_charge_id"]})).data
    await service.sandbox.operate("/clock/advance", seconds=86400*3)
    await service.sandbox.operate(f"/refunds/{r.id}/fail")
    heard = await told(service, a, {row["stripe_charge_id"]})
    for e in reversed(heard):
        await service.hear(e)
    (k,) = await refunds(service, row["id"])
    print("A", k["created_at"], [ (str(e.time), e.type, getattr(e.data,'status',None)) for e in heard])
    assert 0
