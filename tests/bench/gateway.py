"""The gateway: how many webhooks it accepts, and how long Stripe waits."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench import http_load
from tests.bench.bare_gateway import PATH
from tests.bench.stack import GATEWAY, Stack
from tests.webhook_gateway import stripe_events as stripe

from testkit.processes import Command, Process, await_port, free_ports

_numbers = itertools.count(1)


def deliveries(url: str, events: int, *, run: str = "") -> list[bytes]:
    """Requests with distinct signed events of a usual size, about 4 kB."""
    found = []
    for _ in range(events):
        number = f"{run}{next(_numbers)}"
        intent = stripe.intent(id=f"pi_{number}", latest_charge=f"ch_{number}", description="x" * 3_000)
        body = stripe.body_of(stripe.event("payment_intent.succeeded", intent, id=f"evt_bench_{number}"))
        found.append(http_load.request(url + PATH, body, {"Stripe-Signature": stripe.sign(body)}))
    return found


def forgeries(url: str, events: int) -> list[bytes]:
    """The same, signed with another secret."""
    body = stripe.body_of(stripe.event("payment_intent.succeeded", stripe.intent(description="x" * 3_000)))
    signature = stripe.sign(body, secret="whsec_of_a_stranger")
    return [http_load.request(url + PATH, body, {"Stripe-Signature": signature})] * events


@contextmanager
def product(stack: Stack) -> Iterator[str]:
    """The API and its relay. Yields the API's URL."""
    with stack.running(GATEWAY, "api") as api, stack.running(GATEWAY, "relay"):
        yield api.url


@contextmanager
def bare(stack: Stack, mode: str) -> Iterator[str]:
    """`mode`: publish or journal. Yields its URL."""
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "tests.bench.bare_gateway", mode, str(port), stripe.SECRET]
    environment = {**os.environ, "AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.databases[GATEWAY].owner_url}
    process = Process(Command(name=f"bare.{mode}", argv=argv, env=environment, log=stack.logs / f"bare.{mode}.log"))
    process.start()
    try:
        await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


async def accepted(url: str, events: int) -> float:
    """200s per second."""
    load = await http_load.saturate(url, deliveries(url, events))
    if len(load.accepted) < events:
        raise RuntimeError(f"{events - len(load.accepted)} of {events} were refused")
    return load.per_second


async def compare(stack: Stack, *, events: int, rounds: int) -> tuple[float, float, float]:
    """Medians of 200s per second of the product, of publish-then-answer and of journal-only, measured alternately."""
    found: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        with product(stack) as url:
            ours = await accepted(url, events)
        await stack.purge()
        with bare(stack, "publish") as url:
            publish = await accepted(url, events)
        await stack.purge()
        with bare(stack, "journal") as url:
            journal = await accepted(url, events)
        found.append((ours, publish, journal))
    ours_, publish_, journal_ = zip(*found, strict=True)
    return median(ours_), median(publish_), median(journal_)


async def waits(stack: Stack, *, per_second: float, seconds: float, rounds: int) -> tuple[float, float]:
    """The 99th percentiles of the response time in ms, with the broker alive and with it dead."""
    alive, dead = [], []
    for _ in range(rounds):
        with product(stack) as url:
            alive.append(await _p99(url, per_second=per_second, seconds=seconds))
            await asyncio.to_thread(stack.rabbitmq.kill)
            try:
                dead.append(await _p99(url, per_second=per_second, seconds=seconds))
            finally:
                await asyncio.to_thread(stack.rabbitmq.start)
        await stack.purge()
    return median(alive), median(dead)


async def flooded(stack: Stack, *, per_second: float, seconds: float, rounds: int) -> tuple[float, float]:
    """The 99th percentiles for valid events in ms: alone, and with ten forgeries for each."""
    alone, flooded = [], []
    for _ in range(rounds):
        with product(stack) as url:
            alone.append(await _p99(url, per_second=per_second, seconds=seconds))
            flood = http_load.steady(url, forgeries(url, int(10 * per_second * seconds)), per_second=10 * per_second)
            p99, _ = await asyncio.gather(_p99(url, per_second=per_second, seconds=seconds), flood)
            flooded.append(p99)
        await stack.purge()
    return median(alone), median(flooded)


async def _p99(url: str, *, per_second: float, seconds: float) -> float:
    load = await http_load.steady(url, deliveries(url, int(per_second * seconds)), per_second=per_second)
    if len(load.accepted) < len(load.responses):
        raise RuntimeError("valid events were refused")
    return load.milliseconds(0.99)
