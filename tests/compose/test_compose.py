"""`docker compose up --scale enrollment=3`, a few hundred purchases, and one consumer killed meanwhile."""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import re
import time
from collections import Counter
from typing import Any

import httpx
from tests.compose.containers import Containers
from tests.webhook_gateway.stripe_events import body_of, event, intent, session, sign

from contracts.registry import EVENT_TYPES, PUBLISHED_BY
from devstack.identity import Person

BY_WEBHOOK, BY_CHECKOUT = 200, 5
BARBER = "barber-apprenticeship"
SETTLE_SECONDS = 150
SET_BY_THE_IMAGE = {"HTTP_HOST", "HTTP_PORT", "INTERNAL_HOST", "INTERNAL_PORT"}
AT_ONCE = 16
OTHERS = "other systems"
SERVICES = tuple(name for name in PUBLISHED_BY if name != OTHERS)
CONSUMING = ("checkout", "enrollment", "instructor-assignment", "milady-integration", "notifications", "reporting")


def stripe_events_of(student: Person, number: int) -> list[dict[str, Any]]:
    """Both events of one card payment, with only a student and a program as metadata."""
    metadata = {"student_id": str(student.id), "program_id": "prog_1", "program_slug": BARBER}
    refs = {"payment_intent": f"pi_compose_{number}", "id": f"cs_compose_{number}"}
    details = {"email": student.email, "name": student.name}
    paid = session(**refs, metadata=metadata, customer_details=details)
    charged = intent(id=refs["payment_intent"], latest_charge=f"ch_compose_{number}", metadata=metadata)
    return [
        event("checkout.session.completed", paid, id=f"evt_compose_{number}_session"),
        event("payment_intent.succeeded", charged, id=f"evt_compose_{number}_intent"),
    ]


async def test_every_purchase_has_one_enrollment_one_instructor_one_milady_enrollment_and_one_welcome(
    system: Containers,
) -> None:
    by_webhook = [Person("student", f"Webhook{n} Student") for n in range(BY_WEBHOOK)]
    by_checkout = [Person("student", f"Checkout{n} Student") for n in range(BY_CHECKOUT)]
    students = {str(student.id): student for student in (*by_webhook, *by_checkout)}
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        buying = asyncio.gather(*(buy(system, client, student) for student in by_checkout))
        await deliver_all_and_kill_one(system, client, by_webhook)
        await buying
        await until_settled(system, client, len(students))

        each_once = Counter(dict.fromkeys(students, 1))
        enrollments = system.sql(
            "enrollment", "SELECT student_id, program_slug, status, payment_status FROM enrollments"
        )
        assert Counter(row["student_id"] for row in enrollments) == each_once
        kinds = {(row["program_slug"], row["status"], row["payment_status"]) for row in enrollments}
        assert kinds == {(BARBER, "active", "paid")}

        assigned = system.sql("instructor_assignment", "SELECT student_id, status FROM ai_instructor_assignments")
        assert Counter(row["student_id"] for row in assigned) == each_once
        assert {row["status"] for row in assigned} == {"assigned"}

        at_milady = (await client.get(system.url("milady-sandbox") + "/sandbox/api/enrollments")).json()["items"]
        assert Counter(item["student_ref"] for item in at_milady) == each_once
        assert {item["status"] for item in at_milady} == {"active"}

        mails = (await client.get(system.url("mail-catcher") + "/messages")).json()
        to_each_once = Counter(student.email for student in students.values())
        assert Counter(mail["to"] for mail in mails if mail["subject"].startswith("Welcome")) == to_each_once
        assert Counter(mail["to"] for mail in mails if mail["subject"].startswith("Receipt")) == to_each_once
        assert {mail["to"] for mail in mails} == set(to_each_once), "no alert and no other mail was sent"

    published = {
        ("enrollment", "enrollment.activated.v1"): len(students),
        ("instructor_assignment", "instructor.assigned.v1"): len(students),
        ("milady_integration", "milady.enrolled.v1"): len(students),
    }
    for (database, type), expected in published.items():
        query = f"SELECT count(*) AS published FROM outbox_messages WHERE routing_key = '{type}'"
        assert system.sql(database, query) == [{"published": expected}], type
    assert not [name for name, left in queues(system).items() if left], "all queues are empty, dead letters included"


def test_each_service_reaches_only_its_own_database(system: Containers) -> None:
    for service in SERVICES:
        name, prefix = service.replace("-", "_"), service.replace("-", "_").upper()
        for suffix in ("_owner", "", "_api", "_staff"):
            login, secret = name + suffix, f"{prefix}{suffix.upper()}_DB_PASSWORD"
            reached = [
                other
                for other in (*(s.replace("-", "_") for s in SERVICES), "postgres", "template1")
                if may_connect(system, f"postgresql://{login}:{system.settings[secret]}@127.0.0.1/{other}")
            ]
            assert reached == [name], login


def may_connect(system: Containers, url: str) -> bool:
    return system.compose("exec", "-T", "postgres", "psql", url, "-c", "SELECT 1", check=False).code == 0


def test_each_service_publishes_only_its_own_events_and_reads_only_its_own_queues(system: Containers) -> None:
    rights = {row["user"]: row for row in broker(system, "list_permissions")}
    topics = {row["user"]: row for row in broker(system, "list_topic_permissions")}
    names = [row["name"] for row in broker(system, "list_queues", "name")]
    assert set(rights) - {"admin", "deployment"} == set(topics) == set(SERVICES)
    for service in SERVICES:
        own = {name for name in names if name.startswith(f"{service}.")}
        assert own, service
        exchanges = {"bursar.events", *(f"{each}.queues" for each in SERVICES), "amq.default", "amq.topic"}
        allowed = {
            right: {name for name in {*names, *exchanges} if re.search(rights[service][right], name)}
            for right in ("configure", "write", "read")
        }
        assert allowed == {"configure": set(), "write": {"bursar.events", f"{service}.queues"}, "read": own}, service
        published = {type for type in EVENT_TYPES if re.search(topics[service]["write"], type)}
        assert published == {event.type for event in PUBLISHED_BY[service]}, service


def test_ports_are_published_on_loopback_only_and_not_for_what_scales(system: Containers) -> None:
    described = json.loads(system.compose("--profile", "sandbox", "config", "--format", "json").out)["services"]
    published = {name: service["ports"] for name, service in described.items() if service.get("ports")}
    assert set(published) == set(system.ports)
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_the_operators_command_runs_in_a_container(system: Containers) -> None:
    admin = f"BURSAR_TOKEN={token_of(system, Person('admin', 'Alex Adams'))}"
    run = ("--profile", "operator", "run", "--rm", "--no-deps", "--env", admin, "operator")
    system.compose(*run, "verify-audit")
    output = system.compose(*run, "doctor", "--json", check=False).out
    findings = json.loads(output[output.index("[\n") :])
    consuming = [each for each in findings if each["subject"] == "consumers"]
    assert {each["process"] for each in consuming} == {"webhook-gateway", *CONSUMING}, output
    assert {each["outcome"] for each in consuming} == {"ok"}, output


def test_the_front_ends_origin_is_allowed(system: Containers) -> None:
    preflight = {"Origin": system.settings["FRONTEND_URL"], "Access-Control-Request-Method": "POST"}
    for service in ("checkout-api", "enrollment-api"):
        answer = httpx.options(system.url(service) + "/api/anything", headers=preflight, trust_env=False)
        assert answer.headers["access-control-allow-origin"] == system.settings["FRONTEND_URL"]


def test_every_setting_can_be_set(system: Containers) -> None:
    described = json.loads(system.compose("config", "--format", "json").out)["services"]
    roles = {"ApiSettings": "-api", "WorkerSettings": "", "RelaySettings": "-relay"}
    for service in SERVICES:
        settings = importlib.import_module(f"{service.replace('-', '_')}.settings")
        for name, suffix in roles.items():
            if hasattr(settings, name) and f"{service}{suffix}" in described:
                wanted = {field.upper() for field in getattr(settings, name).model_fields}
                missing = wanted - described[f"{service}{suffix}"]["environment"].keys() - SET_BY_THE_IMAGE
                assert not missing, (service, name)


def test_every_process_stops_on_sigterm(system: Containers) -> None:
    """Runs last. SIGTERM reaches Python, and the drain ends long before Docker would send SIGKILL."""
    began = time.monotonic()
    system.compose("--profile", "sandbox", "stop", "--timeout", "30", seconds=90)
    assert time.monotonic() - began < 30
    states = system.compose("--profile", "sandbox", "ps", "--all", "--format", "{{.Service}} {{.ExitCode}}").out.split(
        "\n"
    )
    codes = Counter(line for line in states if line)
    killed = codes.pop("enrollment 137")
    assert killed == 1, "the one that the test killed"
    assert {line.split()[1] for line in codes} == {"0"}, codes


# --- actions ---------------------------------------------------------------------------------------------------------


def token_of(system: Containers, person: Person) -> str:
    """By the identity sandbox."""
    wanted = {"role": person.role, "name": person.name, "email": person.email, "sub": str(person.id)}
    answer = httpx.post(f"{system.url('identity-sandbox')}/sandbox/api/tokens", json=wanted, trust_env=False)
    token: str = answer.raise_for_status().json()["access_token"]
    return token


async def buy(system: Containers, client: httpx.AsyncClient, student: Person) -> None:
    """Starts a checkout like the front end, then pays on Stripe's page."""
    settings = system.settings
    request = {"programName": "Barber Apprenticeship", "programSlug": BARBER, "price": 4890, "paymentType": "full"}
    answer = await client.post(
        system.url("checkout-api") + "/api/create-checkout-session",
        json=request,
        headers={"Authorization": f"Bearer {token_of(system, student)}"},
    )
    assert answer.is_success, answer.text
    url: str = answer.json()["url"]
    assert url.startswith(system.url("stripe-sandbox")), "a browser outside the containers can open it"
    found = re.search(r"cs_\w+", url)
    assert found, url
    card = {"method": "card", "card": "4242424242424242", "email": student.email, "name": student.name}
    operator = {"Authorization": f"Bearer {settings['SANDBOX_TOKEN']}"}
    page = f"{system.url('stripe-sandbox')}/sandbox/api/sessions/{found.group()}"
    paid = await client.post(f"{page}/pay", json=card, headers=operator)
    assert paid.is_success, paid.text


async def deliver_all_and_kill_one(system: Containers, client: httpx.AsyncClient, students: list[Person]) -> None:
    """Delivers signed events, shuffled, many of them two or three times.

    One consumer is stopped while it has unacknowledged messages, then killed.
    """
    rng = random.Random(20261121)
    events = [one for number, student in enumerate(students) for one in stripe_events_of(student, number)]
    deliveries = [body_of(one) for one in events]
    deliveries += [body_of(one) for one in events if rng.random() < 1 / 3 for _ in range(rng.randint(1, 2))]
    rng.shuffle(deliveries)
    victim = system.ids("enrollment")[0]
    third = len(deliveries) // 3
    await deliver(system, client, deliveries[:third])
    await asyncio.to_thread(system.docker, "kill", "--signal=STOP", victim)
    await deliver(system, client, deliveries[third : 2 * third])
    held = await asyncio.to_thread(broker, system, "list_queues", "name", "messages_unacknowledged")
    assert int(next(row["messages_unacknowledged"] for row in held if row["name"] == "enrollment.payments")) > 0
    await asyncio.to_thread(system.docker, "kill", "--signal=KILL", victim)
    await deliver(system, client, deliveries[2 * third :])
    assert len(system.ids("enrollment")) == 2


async def deliver(system: Containers, client: httpx.AsyncClient, bodies: list[bytes]) -> None:
    at_once = asyncio.Semaphore(AT_ONCE)
    url = system.url("webhook-gateway-api") + "/api/stripe/webhook"

    async def one(body: bytes) -> int:
        async with at_once:
            header = {"Stripe-Signature": sign(body, secret=system.settings["STRIPE_WEBHOOK_SECRETS"])}
            return (await client.post(url, content=body, headers=header)).status_code

    assert set(await asyncio.gather(*map(one, bodies))) == {200}


async def until_settled(system: Containers, client: httpx.AsyncClient, purchases: int) -> None:
    """Waits until every enrollment is active and, two polls in a row, nothing is queued or due anywhere."""
    began = time.monotonic()
    quiet = 0
    while quiet < 2:
        enrollments = system.sql(
            "enrollment", "SELECT count(*) AS enrollments FROM enrollments WHERE status = 'active'"
        )[0]["enrollments"]
        left = {name: count for name, count in (queues(system) | due(system)).items() if count}
        mails = len((await client.get(system.url("mail-catcher") + "/messages")).json())
        quiet = quiet + 1 if enrollments >= purchases and mails >= 2 * purchases and not left else 0
        if time.monotonic() - began > SETTLE_SECONDS:
            state = f"{enrollments} of {purchases} enrollments, {mails} mails, queued or due: {left}"
            raise AssertionError(f"not settled after {SETTLE_SECONDS} s: {state}\n{system.problems()}")
        await asyncio.sleep(1)


# --- queries ---------------------------------------------------------------------------------------------------------


def queues(system: Containers) -> dict[str, int]:
    """Messages by queue, including unacknowledged ones and dead letters."""
    return {row["name"]: int(row["messages"]) for row in broker(system, "list_queues", "name", "messages")}


def due(system: Containers) -> dict[str, int]:
    """Outbox rows and jobs of each service that are still due."""
    query = """
        SELECT (SELECT count(*) FROM outbox_due) AS outbox,
               (SELECT count(*) FROM jobs
                WHERE done_at IS NULL AND available_at < now() + interval '1 hour') AS jobs
    """
    found: dict[str, int] = {}
    for service in CONSUMING:
        (row,) = system.sql(service.replace("-", "_"), query)
        found |= {f"{service} {what}": count for what, count in row.items()}
    return found


def broker(system: Containers, *command: str) -> list[dict[str, str]]:
    answer = system.compose("exec", "-T", "rabbitmq", "rabbitmqctl", "--quiet", "--formatter=json", *command)
    rows: list[dict[str, str]] = json.loads(answer.out)
    return rows
