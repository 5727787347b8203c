"""The running system from outside: APIs, operator APIs of the sandboxes, and mailboxes; never a service's internals."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import httpx
from tests.waiting import until
from tests.webhook_gateway.stripe_events import body_of, sign

from devstack.identity import Person
from devstack.stack import Stack

BARBER = "barber-apprenticeship"
PRICES = {BARBER: 4890, "dsp": 4325, "hvac": 5000, "cpr": 575}
PATIENCE = 30.0


@dataclass
class School:
    stack: Stack
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30, trust_env=False))

    def student(self, name: str = "Jordan Rivera") -> Student:
        return Student(self, Person("student", name))

    def staff(self, role: str) -> Caller:
        return Caller(self, Person(role, f"{role.title()} Of The School"))

    async def stripe(self, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
        """Calls the operator API of the Stripe sandbox."""
        answer = await self.http.request(
            method,
            f"{self.stack.url('stripe_sandbox')}/sandbox/api{path}",
            json=body or {},
            headers=self.stack.operator_headers,
        )
        assert answer.is_success or answer.status_code == 402, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def stripe_api(self, path: str, **query: str) -> Any:
        """Reads Stripe's API with the school's key."""
        key = {"Authorization": f"Bearer {self.stack.identity.stripe_api_key}"}
        answer = await self.http.get(f"{self.stack.url('stripe_sandbox')}/v1{path}", headers=key, params=query)
        assert answer.is_success, answer.text
        return answer.json()

    async def milady(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self.http.request(method, f"{self.stack.url('milady_sandbox')}/sandbox/api{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def webhook(self, event: dict[str, Any], *, times: int = 1) -> None:
        """Delivers a signed event, as Stripe does."""
        body = body_of(event)
        header = {"Stripe-Signature": sign(body, secret=self.stack.identity.stripe_webhook_secret)}
        for _ in range(times):
            url = f"{self.stack.url('webhook_gateway')}/api/stripe/webhook"
            answer = await self.http.post(url, content=body, headers=header)
            assert answer.status_code == 200, answer.text

    async def session(self, url: str) -> str:
        found = re.search(r"cs_\w+", url)
        assert found, url
        return found.group()

    async def deliveries_done(self) -> None:
        """Waits until Stripe has no webhook left to deliver."""

        async def idle() -> bool:
            return bool((await self.stripe("/idle", method="GET"))["idle"])

        await until(idle, seconds=PATIENCE, what="Stripe's deliveries")

    def mails(self, to: str) -> list[EmailMessage]:
        return [message for message in self.stack.mail.messages() if to in str(message["X-Envelope-To"])]


@dataclass
class Caller:
    school: School
    person: Person

    @property
    def id(self) -> UUID:
        return self.person.id

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.school.stack.identity.token(self.person)}"}

    async def get(self, service: str, path: str, **query: str) -> Any:
        answer = await self.school.http.get(self.school.stack.url(service) + path, headers=self.headers, params=query)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def post(self, service: str, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        url = self.school.stack.url(service) + path
        return await self.school.http.post(url, json=body, headers={**self.headers, **headers})


class Student(Caller):
    async def checkout(self, slug: str = BARBER, payment_type: str = "full") -> str:
        """Creates a checkout session, as the front end does, and returns its id."""
        body = {"programName": slug, "programSlug": slug, "price": PRICES[slug], "paymentType": payment_type}
        answer = await self.post("checkout", "/api/create-checkout-session", body)
        assert answer.is_success, answer.text
        return await self.school.session(answer.json()["url"])

    async def pay(self, session: str, **choice: Any) -> Any:
        body = {"method": "card", "email": self.person.email, "name": self.person.name, **choice}
        return await self.school.stripe(f"/sessions/{session}/pay", body)

    async def buys(self, slug: str = BARBER, payment_type: str = "full", **choice: Any) -> Any:
        return await self.pay(await self.checkout(slug, payment_type), **choice)

    async def enrollment(self, slug: str = BARBER) -> dict[str, Any] | None:
        items = (await self.get("enrollment", "/api/enrollments"))["items"]
        return next((item for item in items if item["program_slug"] == slug), None)

    async def enrollment_becomes(self, status: str, slug: str = BARBER) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.enrollment(slug)
            return found if found and found["status"] == status else None

        return await until(look, seconds=PATIENCE, what=f"enrollment {status}")

    async def instructors(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.get("instructor_assignment", "/api/instructors/mine"))["items"]
        return [item for item in items if item["instructor"]]

    async def instructor_assigned(self) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            return next(iter(await self.instructors()), None)

        return await until(look, seconds=PATIENCE, what="an instructor")

    async def milady_enrollments(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.get("milady_integration", "/api/milady/mine"))["items"]
        return items

    async def milady_becomes(self, status: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            return next((item for item in await self.milady_enrollments() if item["status"] == status), None)

        return await until(look, seconds=PATIENCE, what=f"Milady enrollment {status}")

    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for message in self.school.mails(self.person.email)]

    async def mailed(self, *words: str) -> list[str]:
        """Waits until each word is in the subject of a mail; returns all subjects."""

        async def look() -> list[str] | None:
            subjects = self.subjects()
            return subjects if all(any(word in subject.lower() for subject in subjects) for word in words) else None

        return await until(look, seconds=PATIENCE, what=f"mails with {words}, so far {self.subjects()}")


def text_of(message: EmailMessage) -> str:
    """The text/plain part."""
    part = message.get_body(("plain",))
    return str(part.get_content()) if part else ""


def count(subjects: Iterable[str], word: str) -> int:
    return sum(word in subject.lower() for subject in subjects)


def metadata(student: Student, slug: str = BARBER) -> dict[str, str]:
    """Only the keys that the first seed system sends."""
    return {"student_id": str(student.id), "program_id": f"id-of-{slug}", "program_slug": slug}


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:16]}"
