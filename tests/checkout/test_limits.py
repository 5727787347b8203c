"""A stranger can neither open Stripe's pages without end, nor try out codes and links."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import uuid4

from tests.checkout.service import CREATE, Service, bearer, wanted


async def test_a_stranger_opens_no_more_pages_than_the_limit(service: Service) -> None:
    app = service.app_with(rate_limit_money="10/day")
    opened = await asyncio.gather(*(service.buy(None, app=app) for _ in range(25)))
    assert Counter(answer.status_code for answer in opened) == {200: 10, 429: 15}
    assert {answer.json()["code"] for answer in opened if answer.status_code == 429} == {"too_many_requests"}
    student = uuid4()
    assert (await service.buy(student, app=app)).status_code == 200, "a user has a limit of their own"


async def test_every_change_counts_whatever_it_is_and_whether_it_is_valid(service: Service) -> None:
    app = service.app_with(rate_limit_money="4/day")
    headers = bearer("student", uuid4())
    bodies = {CREATE: wanted(price=1), "/api/checkout": {}, "/api/memberships": {}, "/api/payments/create-intent": {}}
    for path, body in bodies.items():
        answer = await service.call("POST", path, app=app, headers=headers, json=body)
        assert answer.status_code in (409, 422), answer.text
    refund = f"/api/payments/{uuid4()}/refund"
    assert (await service.call("POST", refund, app=app, headers=headers, json={})).status_code == 429
    assert (await service.call("GET", "/api/programs", app=app, headers=headers)).status_code == 200


async def test_codes_and_links_cannot_be_tried_out(service: Service) -> None:
    app = service.app_with(rate_limit_guesses="5/day")
    headers = bearer("student", uuid4())
    tried = [
        await service.call("GET", f"/api/promotions/GUESS{n}?item=barber-apprenticeship", app=app, headers=headers)
        for n in range(8)
    ]
    assert [answer.status_code for answer in tried[5:]] == [429] * 3
    links = [await service.call("GET", f"/pay/{uuid4().hex}", app=app) for _ in range(8)]
    assert [answer.status_code for answer in links] == [404] * 5 + [429] * 3
