"""The service as it runs: two processes with all roles, on a real broker."""

from __future__ import annotations

import asyncio
from collections import Counter

import aio_pika
import pytest
from tests.databases import logins
from tests.instructor_assignment.harness import Service, Student, envelope, new_program
from tests.processes import RunningRole
from tests.waiting import until

from contracts.envelope import parse
from contracts.instructor_assignment import InstructorAssigned
from contracts.registry import EVENT_TYPES
from instructor_assignment.topology import PUBLISHES, QUEUES
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from testkit.postgres_server import Database
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

EVENTS = Queue("test.instructor-assignment-events", events=PUBLISHES)


@pytest.mark.usefixtures("no_old_messages")
async def test_many_payments_out_of_order_give_each_student_one_instructor(
    service: Service, assignment_database: Database, rabbit_server: RabbitServer
) -> None:
    program = new_program()
    for name in ("Ada", "Ben"):
        await service.add(program, name, 100)
    students = [Student(program) for _ in range(60)]
    refunded = students[:10]

    await declare_at(rabbit_server.url, [*QUEUES, EVENTS])
    env = {
        **logins(assignment_database),
        "AMQP_URL": rabbit_server.url,
    }
    running = [RunningRole("instructor_assignment", "all", env).start() for _ in range(2)]
    publisher = Publisher(rabbit_server.url, name="test")
    try:
        events = [envelope(student.refunded()) for student in refunded]
        events += [envelope(student.paid()) for student in students]
        events += [envelope(student.paid()) for student in students]
        await asyncio.gather(*(publisher.publish(to_message(event)) for event in events + events))
        wait_all_ready(running)

        async def all_handled() -> bool:
            ids = [event.id for event in events]
            return len(await service.rows("SELECT 1 FROM inbox WHERE event_id = ANY(:ids)", ids=ids)) == len(ids)

        await until(all_handled, seconds=30)
        assert await service.loads(program) == {"Ada": 25, "Ben": 25}

        async def all_published() -> bool:
            return not await service.rows("SELECT 1 FROM outbox_due")

        await until(all_published)
    finally:
        stop_all(running)
        await publisher.close()

    assigned: Counter[str] = Counter()
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        queue = await (await connection.channel()).get_queue(EVENTS.name)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            event = parse(message.headers, message.body, EVENT_TYPES).data
            if isinstance(event, InstructorAssigned) and event.program.slug == program.slug:
                assigned[str(event.student_id)] += 1
    staying = {str(student.id) for student in students[10:]}
    assert {student: assigned[student] for student in staying} == dict.fromkeys(staying, 1)
