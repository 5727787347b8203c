"""The service as it runs: two consumer processes and a relay, on a real broker."""

from __future__ import annotations

import asyncio
from collections import Counter

import aio_pika
from tests.instructor_assignment.service import Service, Student, envelope, new_program
from tests.processes import RunningRole, migrate
from tests.waiting import until

from contracts.envelope import parse
from contracts.instructor_assignment import InstructorAssigned, InstructorReleased
from contracts.registry import EVENT_TYPES
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from testkit.postgres_server import Database
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

EAR = Queue("test.instructor-assignment-ear", events=(InstructorAssigned, InstructorReleased))


async def test_many_payments_in_disorder_give_each_student_one_instructor(
    service: Service, assignment_database: Database, rabbit_server: RabbitServer
) -> None:
    program = new_program()
    for name in ("Ada", "Ben"):
        await service.add(program, name, 100)
    students = [Student(program) for _ in range(60)]
    gone = students[:10]

    env = {"DATABASE_URL": assignment_database.url, "AMQP_URL": rabbit_server.url}
    migrate("instructor_assignment", env)
    await declare_at(rabbit_server.url, [EAR])
    running = [RunningRole("instructor_assignment", role, env).start() for role in ("consumers", "consumers", "relay")]
    publisher = Publisher(rabbit_server.url, name="test")
    try:
        heard = [envelope(student.refunded()) for student in gone]
        heard += [envelope(student.paid()) for student in students]
        heard += [envelope(student.paid()) for student in students]
        await asyncio.gather(*(publisher.publish(to_message(each, mandatory=True)) for each in heard + heard))
        wait_all_ready(running)

        async def settled() -> bool:
            return len(
                await service.rows("SELECT 1 FROM inbox WHERE event_id = ANY(:ids)", ids=[h.id for h in heard])
            ) == len(heard)

        await until(settled, seconds=30)
        assert await service.loads(program) == {"Ada": 25, "Ben": 25}

        async def published() -> bool:
            return not await service.rows("SELECT 1 FROM outbox WHERE published_at IS NULL")

        await until(published)
    finally:
        stop_all(running)
        await publisher.close()

    told: Counter[str] = Counter()
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        queue = await (await connection.channel()).get_queue(EAR.name)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            event = parse(message.headers, message.body, EVENT_TYPES).data
            if isinstance(event, InstructorAssigned) and event.program.slug == program.slug:
                told[str(event.student_id)] += 1
    staying = {str(student.id) for student in students[10:]}
    assert {student: told[student] for student in staying} == dict.fromkeys(staying, 1)
