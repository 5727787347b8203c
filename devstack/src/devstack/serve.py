"""`make serve`: runs the stack until Ctrl-C and prints where everything is."""

from __future__ import annotations

import time
from pathlib import Path

from devstack.services import PORTAL
from devstack.stack import Clock, Stack, running
from devstack.supervisor import Supervisor


def run(folder: Path) -> int:
    clock = Clock()
    with running(folder, stable_ports=True, say=clock.say) as stack:
        clock.say(f"everything is ready: open {stack.url(PORTAL)}")
        print(addresses(stack), flush=True)
        supervisor = Supervisor(stack.processes.values(), clock.say)
        while True:
            supervisor.tick()
            time.sleep(0.25)


def addresses(stack: Stack) -> str:
    """The addresses as a plain table."""
    rows = [(name, _address(stack, name)) for name in stack.processes]
    rows += [
        ("Stripe operator", f"{stack.url('stripe_sandbox')}/sandbox?token={stack.identity.sandbox_token}"),
        ("API docs", "/docs, /openapi.json and /asyncapi.json at each service's internal address"),
        ("health", "/healthz, /readyz and /metrics at the same"),
        ("mail", str(stack.mail.folder)),
        ("logs", str(stack.folder / "logs")),
        ("operator", f"BURSAR_STACK={stack.description} .venv/bin/bursar doctor"),
        ("tokens, databases", str(stack.description)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {where}" for name, where in rows]
    return "\n".join(["", *lines, "", "Press Ctrl-C to stop."])


def _address(stack: Stack, name: str) -> str:
    url, internal = stack.url(name), stack.internal_url(name)
    return url if url == internal else f"{url}, internal {internal}"
