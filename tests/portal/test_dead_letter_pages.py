"""Dead letters: listed in pages, shown, replayed, and discarded after a confirmation with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.portal.documented_samples import HOSTILE, sample_page
from tests.portal.documented_services import problem
from tests.portal.harness import Browser, Portal

from portal.admin_lists import DEAD_LETTERS

QUEUE, EVENT = "checkout.payments", "evt_1/payment.succeeded.v1"
DISCARD, REPLAY = f"{DEAD_LETTERS.api}/discard", f"{DEAD_LETTERS.api}/replay"
NAMED = {"queue": QUEUE, "event_id": EVENT}


def letter(**other: Any) -> dict[str, Any]:
    texts = {"type": HOSTILE, "reason": HOSTILE, "login": "checkout", "publisher": "checkout", "dead_lettered_at": ""}
    return {**NAMED, **texts, "attempts": 3, **other}


@pytest.fixture(autouse=True)
async def administration(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", DEAD_LETTERS.api] = {"items": [letter()], "next": "25"}


async def test_a_queue_is_paged_and_its_messages_lead_to_what_can_be_done(browser: Browser, portal: Portal) -> None:
    shown = await browser.get(DEAD_LETTERS.path, params={"queue": QUEUE})
    assert shown.status_code == 200 and "<script>alert" not in shown.text
    assert f"queue={QUEUE}&amp;cursor=25" in shown.text
    escaped = EVENT.replace("/", "%2F")
    assert f'href="/admin/dead-letters/message?queue={QUEUE}&amp;event_id={escaped}"' in shown.text
    await browser.get(DEAD_LETTERS.path, params={"queue": QUEUE, "cursor": "25"})
    assert dict(portal.services.sent("GET", DEAD_LETTERS.api)[-1].url.params) == {
        "queue": QUEUE,
        "limit": "25",
        "cursor": "25",
    }
    portal.services.answers["GET", f"{DEAD_LETTERS.api}/queues"] = sample_page(
        f"{DEAD_LETTERS.api}/queues", queue=QUEUE
    )
    queues = await browser.get("/admin/dead-letters")
    assert f'href="/admin/dead-letters/messages?queue={QUEUE}"' in queues.text


@pytest.mark.parametrize("body", [{"note": HOSTILE}, HOSTILE, None, [1, 2]])
async def test_a_message_is_displayed_with_its_content_as_text(browser: Browser, portal: Portal, body: object) -> None:
    path = f"{DEAD_LETTERS.api}/message"
    detail = letter(body=body, stack=HOSTILE, headers={"x": HOSTILE})
    portal.services.answers["GET", path] = detail
    shown = await browser.get("/admin/dead-letters/message", params=NAMED)
    assert shown.status_code == 200 and "<script>alert" not in shown.text and "{{ 7 * 7 }}" in shown.text
    assert dict(portal.services.sent("GET", path)[-1].url.params) == NAMED
    portal.services.answers["GET", path] = problem(404, "unknown_dead_letter", "It is gone.")
    assert "It is gone." in (await browser.get("/admin/dead-letters/message", params=NAMED)).text


async def test_a_refused_replay_is_displayed_above_its_queue(browser: Browser, portal: Portal) -> None:
    shown = await browser.get(DEAD_LETTERS.path, params={"queue": QUEUE})
    portal.services.answers["POST", REPLAY] = problem(409, "refused", "Vouch for it first.")
    action = f"/admin/dead-letters/replay?queue={QUEUE}"
    refused = await browser.submit(shown, action)
    assert refused.status_code == 422 and "Vouch for it first." in refused.text
    assert portal.services.sent("GET", DEAD_LETTERS.api)[-1].url.params["queue"] == QUEUE
    portal.services.answers["POST", REPLAY] = {"messages": 1}
    done = await browser.submit(shown, action)
    assert done.headers["location"] == f"{DEAD_LETTERS.path}?queue={QUEUE}&done=replayed"
    first, second = portal.services.sent("POST", REPLAY)
    assert json.loads(first.content) == json.loads(second.content) == {"queue": QUEUE, "event_ids": [EVENT]}


async def test_a_message_is_discarded_with_a_reason_after_a_confirmation(browser: Browser, portal: Portal) -> None:
    asked = await browser.get("/admin/dead-letters/discard", params=NAMED)
    assert "cannot be replayed any more" in asked.text and not portal.services.sent("POST", DISCARD)
    portal.services.answers["POST", DISCARD] = problem(422, "invalid_request", "Give a reason.")
    refused = await browser.submit(asked, "/admin/dead-letters/discard", reason=f" {HOSTILE} ")
    assert refused.status_code == 422 and "Give a reason." in refused.text and "<script>alert" not in refused.text
    portal.services.answers["POST", DISCARD] = {"messages": 1}
    done = await browser.submit(refused, "/admin/dead-letters/discard", reason="A test event.")
    assert done.headers["location"] == f"{DEAD_LETTERS.path}?queue={QUEUE}&done=discarded"
    sent = [json.loads(each.content) for each in portal.services.sent("POST", DISCARD)]
    assert sent == [{"queue": QUEUE, "event_ids": [EVENT], "reason": reason} for reason in (HOSTILE, "A test event.")]


@pytest.mark.parametrize("act", ["discard", "replay"])
async def test_a_form_without_the_sessions_token_does_nothing(browser: Browser, portal: Portal, act: str) -> None:
    assert (await browser.post(f"/admin/dead-letters/{act}", NAMED | {"reason": "x"})).status_code == 403
    assert not portal.services.sent("POST", DISCARD) and not portal.services.sent("POST", REPLAY)
