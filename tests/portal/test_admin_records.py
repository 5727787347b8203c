"""Forms that create and change: they send what their API documents, only what was changed, and display refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.portal.documented_samples import resolved, sample, schema_of
from tests.portal.documented_services import PURCHASE_ID, documented, problem
from tests.portal.harness import Browser, Portal

from portal.admin_records import INSTRUCTORS, ITEMS, PROMOTIONS, RECORDS, SPONSORS
from portal.record_form import Field, Record, changed_body, new_body, texts

every_record = pytest.mark.parametrize("record", RECORDS, ids=[each.record_list.path for each in RECORDS])


def sent_fields(method: str, path: str) -> dict[str, dict[str, Any]]:
    body = resolved(documented(method, path)["requestBody"]["content"]["application/json"]["schema"])
    return {name: resolved(each) for name, each in body["properties"].items()}


def stored(record: Record, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = sample(schema_of("GET", record.api("x")), currency="usd")
    plan = {"type": "full", "installments": None, "deposit_percent": None, "interval_days": None}
    return {**row, **({"payment_plan": plan} if "payment_plan" in row else {}), **fields}


def answer_with(portal: Portal, record: Record, **fields: Any) -> dict[str, Any]:
    """Returns the row; its key is `x`, or a UUID."""
    row = stored(record, **fields)
    key = PURCHASE_ID if record.key == "id" else "x"
    portal.services.answers["GET", record.api(key)] = row | {record.key: key}
    return row | {record.key: key}


@every_record
def test_a_form_has_the_fields_of_its_api(record: Record) -> None:
    new, change = sent_fields("POST", record.record_list.api), sent_fields("PATCH", record.api("x"))
    for use, documented_fields in (("new", new), ("change", change)):
        fields = [each for each in record.fields if each.only in ("", use)]
        tops = {each.name.partition(".")[0] for each in fields}
        assert tops <= set(documented_fields)
        assert set(documented_fields) - tops <= {"external_id"}, use  # another system's
        for each in fields:
            top, _, name = each.name.partition(".")
            schema = resolved(documented_fields[top]["properties"][name]) if name else documented_fields[top]
            assert set(each.choices) == set(schema.get("enum", ())) - {None}, each.name
            assert (each.kind == "yes_no") == ("boolean" in schema.get("type", "")), each.name


@every_record
async def test_a_record_displays_hostile_texts_as_texts(browser: Browser, portal: Portal, record: Record) -> None:
    await browser.sign_in("admin")
    row = answer_with(portal, record)
    shown = await browser.get(record.path(row[record.key]))
    assert shown.status_code == 200 and "<script>alert" not in shown.text and "<img src=x" not in shown.text
    assert (await browser.get(record.new_path)).status_code == 200


@every_record
async def test_a_form_that_is_sent_as_it_is_changes_nothing(browser: Browser, portal: Portal, record: Record) -> None:
    await browser.sign_in("admin")
    row = answer_with(portal, record)
    path = record.path(row[record.key])
    fields = record.form("change")
    given = {each.name: each.text(row) for each in fields}
    assert changed_body(fields, texts(fields, given), given) == {}
    shown = await browser.get(path)
    assert (await browser.submit(shown, path, **given)).headers["location"] == f"{path}?saved=1"
    assert {request.method for request in portal.services.requests} == {"GET"}


@every_record
async def test_records_are_for_admins(portal: Portal, record: Record) -> None:
    for role in ("student", "case_manager", "specialist"):
        async with portal.browser() as browser:
            await browser.sign_in(role)
            portal.services.requests.clear()
            for path in (record.new_path, record.path("x")):
                assert (await browser.get(path)).status_code == 403
            assert not portal.services.requests


async def test_an_item_is_created_once(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    shown = await browser.get(ITEMS.new_path)
    form = {
        "kind": "track",
        "slug": "dp",
        "name": "Developer",
        "price": "4890.00",
        "currency": "usd",
        "active": "true",
        "taught": "false",
        "auto_assign_payment_plan": "true",
        "payment_plan.type": "installments",
        "payment_plan.installments": "4",
        "projects": "First\r\n- one\r\n- two\r\nSecond",
    }
    portal.services.answers["POST", ITEMS.record_list.api] = stored(ITEMS, slug="dp")
    for _ in range(2):
        created = await browser.submit(shown, ITEMS.new_path, **form)
        assert created.headers["location"] == "/admin/items/dp?saved=1"
    first, second = portal.services.sent("POST", ITEMS.record_list.api)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert json.loads(first.content) == {
        "kind": "track",
        "slug": "dp",
        "name": "Developer",
        "price": "4890.00",
        "currency": "usd",
        "active": True,
        "taught": False,
        "auto_assign_payment_plan": True,
        "payment_plan": {"type": "installments", "installments": 4},
        "projects": [{"title": "First", "steps": ["one", "two"]}, {"title": "Second", "steps": []}],
    }


async def test_a_refused_change_keeps_what_was_written(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    row = answer_with(portal, SPONSORS, name="Acme", finance_email=None, active=True)
    path = SPONSORS.path("x")
    errors = [{"field": "body.finance_email", "problem": "not an address", "kind": "value_error"}]
    refusal = problem(422, "invalid_request", "The request is invalid; see `errors`.")
    body = json.loads(refusal.content) | {"errors": errors}
    portal.services.answers["PATCH", SPONSORS.api("x")] = type(refusal)(422, json=body)
    shown = await browser.get(path)
    given = {"name": row["name"], "finance_email": "acme", "active": "true"}
    refused = await browser.submit(shown, path, **given)
    assert refused.status_code == 422 and "finance email: not an address" in refused.text
    assert 'value="acme"' in refused.text
    (sent,) = portal.services.sent("PATCH", SPONSORS.api("x"))
    assert json.loads(sent.content) == {"finance_email": "acme"}


async def test_a_form_undoes_no_change_that_was_made_since(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    answer_with(portal, SPONSORS, name="Acme", finance_email="old@acme.example", active=True)
    path = SPONSORS.path("x")
    shown = await browser.get(path)
    answer_with(portal, SPONSORS, name="Acme", finance_email="new@acme.example", active=True)
    await browser.submit(shown, path, name="Acme Works", finance_email="old@acme.example", active="true")
    (sent,) = portal.services.sent("PATCH", SPONSORS.api("x"))
    assert json.loads(sent.content) == {"name": "Acme Works"}


async def test_an_instructor_with_students_is_not_removed(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    answer_with(portal, INSTRUCTORS, name="Ada")
    path = INSTRUCTORS.path(PURCHASE_ID)
    api = INSTRUCTORS.api(PURCHASE_ID)
    portal.services.answers["DELETE", api] = problem(409, "instructor_has_students", "The others cannot take them.")
    refused = await browser.submit(await browser.get(path), f"{path}/remove")
    assert refused.status_code == 422 and "The others cannot take them." in refused.text


def test_fields_are_what_the_api_takes() -> None:
    fields = PROMOTIONS.form("new")
    given = dict.fromkeys((each.name for each in fields), "")
    sent = {"code": "SPRING", "percent_off": "10", "kinds": "track, program", "valid_until": "2026-12-01T00:00"}
    assert new_body(fields, given | sent) == {
        "code": "SPRING",
        "percent_off": 10,
        "kinds": ["track", "program"],
        "valid_until": "2026-12-01T00:00:00Z",
    }
    assert Field("capacity", "", "integer").value("ten") == "ten"  # the API refuses it, and says why
    row = {"active": True, "valid_until": "2026-12-01T01:00:00+01:00"}
    changed = [Field("active", "", "yes_no"), Field("valid_until", "", "moment")]
    displayed = {each.name: each.text(row) for each in changed}
    assert changed_body(changed, {"active": "true", "valid_until": ""}, displayed) == {"valid_until": None}
    assert changed_body(changed, {"active": "false", "valid_until": "2026-12-01T00:00"}, displayed) == {"active": False}
