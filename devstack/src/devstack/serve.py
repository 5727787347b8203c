"""`make serve`: the stack stays up until Ctrl-C, and says where everything is."""

from __future__ import annotations

import time
from pathlib import Path

from devstack.layout import SANDBOXES, SERVICES
from devstack.stack import Clock, Stack, running
from devstack.supervisor import Supervisor


def run(folder: Path) -> int:
    clock = Clock()
    with running(folder, stable_ports=True, say=clock.say) as stack:
        clock.say("everything is up")
        print(addresses(stack), flush=True)
        supervisor = Supervisor(stack.processes.values(), clock.say)
        while True:
            supervisor.tick()
            time.sleep(0.25)


def addresses(stack: Stack) -> str:
    """Where everything is, as a plain table."""
    rows = [(name.package, stack.url(name.package)) for name in SERVICES]
    rows += [(name, stack.url(name)) for name in SANDBOXES]
    rows += [
        ("operator page", stack.url("stripe_sandbox") + "/sandbox"),
        ("API documents", "each service: /docs, /openapi.json, /asyncapi.json"),
        ("mail", str(stack.mail.folder)),
        ("logs", str(stack.folder / "logs")),
        ("the rest", f"{stack.description} (tokens, databases, health and metrics of every process)"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {where}" for name, where in rows]
    return "\n".join(["", *lines, "", "Ctrl-C ends it."])
