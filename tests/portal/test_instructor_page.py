"""A student's conversation with their instructor: the page, and the answer as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.portal.documented_services import NOW, PAYMENT_ID, PURCHASE_ID, enrollment, page, problem
from tests.portal.harness import URL, Browser, Portal, fields_of
from tests.waiting import until

CHAT = f"/api/instructors/mine/{PURCHASE_ID}"
MESSAGES = f"{CHAT}/messages"
PAGE = f"/dashboard/instructor/{PURCHASE_ID}"
HOSTILE = "<script>alert(1)</script> [here](javascript:alert(1)) **bold**"
STREAM = {"accept": "text/event-stream"}


def assignment(**other: Any) -> dict[str, Any]:
    ada = {"id": PAYMENT_ID, "name": "Ada <i>", "specialty": "Fades", "avatar": None}
    names = {"program_slug": "x", "program_id": "p", "program_name": "X", "status": "assigned", "reason": None}
    ids = {"id": PURCHASE_ID, "student_id": PURCHASE_ID, "purchase_id": PURCHASE_ID, "instructor": ada}
    return {**ids, **names, "since": NOW, "created_at": NOW, "updated_at": NOW, **other}


def chat(**other: Any) -> dict[str, Any]:
    plain = {"assignment": assignment(), "answered_by": "model", "can_ask": True}
    return {**plain, "longest_question": 2000, "questions_left": 7, **other}


def message(role: str, text: str, **other: Any) -> dict[str, Any]:
    ids = {"id": PAYMENT_ID, "assignment_id": PURCHASE_ID, "question_id": None, "answered_by": None}
    if role == "instructor":
        ids |= {"question_id": PAYMENT_ID, "answered_by": "model"}
    return {**ids, "role": role, "text": text, "state": "complete", "tokens": 0, "created_at": NOW, **other}


@pytest.fixture
async def student(browser: Browser, portal: Portal) -> Browser:
    await browser.sign_in()
    portal.services.answers["GET", CHAT] = chat()
    portal.services.answers["GET", MESSAGES] = page()
    return browser


async def test_the_dashboard_links_to_the_conversation(student: Browser, portal: Portal) -> None:
    answers = portal.services.answers
    answers["GET", "/api/enrollments"] = page(enrollment())
    for status, shown in (
        ("assigned", f'href="{PAGE}">Ask Ada &lt;i&gt;</a>'),
        ("released", f'href="{PAGE}">Your conv'),
    ):
        given = {} if status == "assigned" else {"instructor": None}
        answers["GET", "/api/instructors/mine"] = page(assignment(status=status, **given))
        assert shown in (await student.get("/dashboard")).text
    answers["GET", "/api/instructors/mine"] = page(assignment(status="waiting", instructor=None))
    assert PAGE not in (await student.get("/dashboard")).text


async def test_the_page_shows_the_instructor_and_the_conversation_oldest_first(
    student: Browser, portal: Portal
) -> None:
    empty = await student.get(PAGE)
    assert "There are no messages yet." in empty.text and "Ada &lt;i&gt;" in empty.text and "Fades" in empty.text
    assert 'aria-live="polite"' in empty.text and empty.headers["cache-control"] == "no-store"
    portal.services.answers["GET", MESSAGES] = {
        "items": [message("instructor", "Late", state="incomplete"), message("student", "First")],
        "next": "next page",
    }
    text = (await student.get(PAGE)).text
    assert text.index("First") < text.index("Late") and "This answer was cut off." in text
    assert f'href="{PAGE}?cursor=next%20page"' in text
    assert "chat.js" in text and "7 more questions today" in text


async def test_texts_are_plain_text(student: Browser, portal: Portal) -> None:
    portal.services.answers["GET", MESSAGES] = page(message("instructor", HOSTILE), message("student", HOSTILE))
    text = (await student.get(PAGE)).text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt; [here](javascript:alert(1)) **bold**") == 2
    assert "<script>alert" not in text and 'href="javascript' not in text


async def test_the_tutor_is_labeled(student: Browser, portal: Portal) -> None:
    assert "no language model" not in (await student.get(PAGE)).text
    portal.services.answers["GET", CHAT] = chat(answered_by="tutor")
    portal.services.answers["GET", MESSAGES] = page(message("instructor", "Text", answered_by="tutor"))
    text = (await student.get(PAGE)).text
    assert "Automatic tutor, no language model" in text and "(automatic tutor, no language model)" in text


@pytest.mark.parametrize(
    ("status", "text"), [("waiting", "is being assigned"), ("released", "nobody answers here anymore")]
)
async def test_who_has_no_instructor_only_reads(student: Browser, portal: Portal, status: str, text: str) -> None:
    portal.services.answers["GET", CHAT] = chat(can_ask=False, assignment=assignment(status=status, instructor=None))
    portal.services.answers["GET", MESSAGES] = page(message("student", "Still here"))
    shown = (await student.get(PAGE)).text
    assert text in shown and "Still here" in shown and "<textarea" not in shown


async def test_a_question_is_asked_without_javascript(student: Browser, portal: Portal) -> None:
    exchange = {"question": message("student", "How?"), "answer": message("instructor", "So.")}
    portal.services.answers["POST", MESSAGES] = exchange
    shown = await student.get(PAGE)
    sent = await student.submit(shown, PAGE, text="How?\r\nExactly?")
    assert (sent.status_code, sent.headers["location"]) == (303, f"{PAGE}#latest")
    (request,) = portal.services.sent("POST", MESSAGES)
    assert json.loads(request.content) == {"text": "How?\nExactly?"}
    assert request.headers["idempotency-key"] == fields_of(shown.text, PAGE)["key"]
    assert request.headers["accept"] == "application/json"


class Closings(httpx.AsyncBaseTransport):
    """The documented services; counts the answers whose connection is free again."""

    def __init__(self, services: httpx.AsyncBaseTransport) -> None:
        self._services = services
        self.answered = self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._services.handle_async_request(request)
        self.answered += 1
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Closing(self, await answer.aread()))


class Closing(httpx.ByteStream):
    def __init__(self, counts: Closings, content: bytes) -> None:
        super().__init__(content)
        self._counts = counts

    async def aclose(self) -> None:
        self._counts.closed += 1


@pytest.mark.parametrize("headers", [{}, STREAM])
async def test_an_answer_that_is_not_streamed_frees_its_connection(
    student: Browser, portal: Portal, headers: dict[str, str]
) -> None:
    """Else a student who asks two hundred times uses up the portal's connections."""
    fields = fields_of((await student.get(PAGE)).text, PAGE) | {"text": "How?"}
    portal.services.answers["POST", MESSAGES] = {
        "question": message("student", "How?"),
        "answer": message("instructor", "So."),
    }
    counts = Closings(portal.services)
    portal.app.state.services.slow = httpx.AsyncClient(transport=counts)
    answer = await student.post(PAGE, fields, headers=headers)
    assert answer.status_code == (503 if headers else 303), "JSON is no event stream"
    assert (counts.answered, counts.closed) == (1, 1)


async def test_a_refused_question_stays_in_the_form(student: Browser, portal: Portal) -> None:
    portal.services.answers["POST", MESSAGES] = problem(429, "question_limit_reached", "Ask again <tomorrow>.")
    sent = await student.submit(await student.get(PAGE), PAGE, text="<b>How?")
    assert sent.status_code == 429
    assert "Ask again &lt;tomorrow&gt;." in sent.text and "&lt;b&gt;How?</textarea>" in sent.text


async def test_without_the_service_the_answer_is_503(student: Browser, portal: Portal) -> None:
    shown = await student.get(PAGE)
    portal.services.answers["POST", MESSAGES] = httpx.ConnectError("refused")
    assert (await student.submit(shown, PAGE, text="How?")).status_code == 503
    fields = fields_of(shown.text, PAGE) | {"text": "How?"}
    streamed = await student.post(PAGE, fields, headers=STREAM)
    assert (streamed.status_code, streamed.headers["content-type"]) == (503, "application/problem+json")
    portal.services.answers["GET", CHAT] = problem(404, "unknown_assignment")
    assert (await student.get(PAGE)).status_code == 404


async def test_a_question_needs_the_token_of_a_form_and_a_student(student: Browser, portal: Portal) -> None:
    for headers in ({}, STREAM):
        assert (await student.post(PAGE, {"text": "How?"}, headers=headers)).status_code == 403
    assert portal.services.sent("POST", MESSAGES) == []
    async with portal.browser() as stranger:
        assert (await stranger.get(PAGE)).headers["location"].startswith("/sign-in?return_to=")
        await stranger.sign_in("admin")
        assert (await stranger.get(PAGE)).status_code == 403


async def test_a_refusal_is_a_problem_for_the_script(student: Browser, portal: Portal) -> None:
    shown = await student.get(PAGE)
    portal.services.answers["POST", MESSAGES] = problem(409, "answer_in_progress", "Wait.")
    answer = await student.post(PAGE, fields_of(shown.text, PAGE) | {"text": "How?"}, headers=STREAM)
    assert (answer.status_code, answer.json()["detail"]) == (409, "Wait.")
    assert answer.headers["content-type"] == "application/problem+json"


class Slow(httpx.AsyncByteStream, httpx.AsyncBaseTransport):
    """A service whose answer goes on when the test says so."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.closed = False
        self.failure: Exception | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, headers={"content-type": "text/event-stream"}, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'event: delta\ndata: {"text": "a"}\n\n'
        await self.release.wait()
        if self.failure is not None:
            raise self.failure
        yield b'event: answer\ndata: {"text": "ab"}\n\n'

    async def aclose(self) -> None:
        self.closed = True


class Stream:
    """A POST of the form, as the server calls the portal: httpx's transport for apps returns whole answers only."""

    def __init__(self, browser: Browser, shown: httpx.Response) -> None:
        body = urlencode(fields_of(shown.text, PAGE) | {"text": "How?"}).encode()
        self._received: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
        self.gone = asyncio.Event()
        self.status = 0
        self.body = b""
        cookie = f"__Host-bursar={browser.cookie}".encode()
        headers = [
            (b"accept", b"text/event-stream"),
            (b"cookie", cookie),
            (b"host", URL.removeprefix("https://").encode()),
        ]
        scope = {"type": "http", "method": "POST", "path": PAGE, "raw_path": PAGE.encode(), "query_string": b""}
        server = {"scheme": "https", "headers": headers, "client": ("203.0.113.7", 5), "server": ("school.test", 443)}
        asgi = {"asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "root_path": "", "state": {}}
        self.task = asyncio.create_task(browser.portal.app({**scope, **server, **asgi}, self._receive, self._send))

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._received:
            return self._received.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def has_started(self) -> bool:
        return b"delta" in self.body


@pytest.fixture
async def slow(student: Browser, portal: Portal) -> AsyncIterator[tuple[Slow, Stream]]:
    shown = await student.get(PAGE)
    slow = Slow()
    await portal.app.state.services.slow.aclose()
    portal.app.state.services.slow = httpx.AsyncClient(transport=slow)
    stream = Stream(student, shown)
    await until(stream.has_started, seconds=10)
    yield slow, stream


async def test_an_answer_is_passed_on_as_it_comes(slow: tuple[Slow, Stream]) -> None:
    service, stream = slow
    assert (stream.status, b"event: answer" in stream.body) == (201, False)
    service.release.set()
    await stream.task
    assert stream.body.endswith(b'event: answer\ndata: {"text": "ab"}\n\n') and service.closed


async def test_a_browser_that_goes_ends_the_request_to_the_service(slow: tuple[Slow, Stream]) -> None:
    service, stream = slow
    stream.gone.set()
    await stream.task
    assert service.closed and b"event: answer" not in stream.body


async def test_a_service_that_goes_is_an_event_for_the_script(slow: tuple[Slow, Stream]) -> None:
    service, stream = slow
    service.failure = httpx.ReadError("gone")
    service.release.set()
    await stream.task
    assert b"event: lost" in stream.body and service.closed
