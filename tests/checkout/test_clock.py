"""The test clock: admins can move it if the settings enable it."""

from __future__ import annotations

from datetime import datetime

from tests.checkout.installment_steps import School
from tests.checkout.service import Service, bearer

PATH = "/api/admin/test-clock"


async def test_admins_can_move_it(school: School) -> None:
    before = datetime.fromisoformat((await school.admin("GET", PATH)).json()["now"])
    answer = await school.admin("POST", f"{PATH}/advance", json={"seconds": 3600})
    assert answer.status_code == 200, answer.text
    assert 3600 <= (datetime.fromisoformat(answer.json()["now"]) - before).total_seconds() < 3660
    for seconds in (0, -1, "1.5", 10**12):
        assert (await school.admin("POST", f"{PATH}/advance", json={"seconds": seconds})).status_code == 422


async def test_others_cannot(school: School) -> None:
    for role in ("student", "case_manager"):
        assert (await school.call("POST", f"{PATH}/advance", role=role, json={"seconds": 1})).status_code == 403


async def test_it_is_not_found_unless_enabled(service: Service, school: School) -> None:
    for method, path in (("GET", PATH), ("POST", f"{PATH}/advance")):
        answer = await service.call(method, path, headers=bearer("admin", school.student), json={"seconds": 1})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    clock = service.app.state.clock
    real = datetime.now((await clock.now()).tzinfo)
    assert abs((await clock.now() - real).total_seconds()) < 60
