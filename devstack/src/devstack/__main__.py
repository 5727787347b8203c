"""`python -m devstack demo|serve`: see `make help`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from devstack import demo, serve
from devstack.demo_client import DemoFailed
from devstack.stack import ROOT, Busy
from testkit.processes import NotReady, ProcessDied
from testkit.servers import NoServer

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    parser.add_argument("command", choices=("demo", "serve"))
    parser.add_argument("--folder", type=Path, default=ROOT / ".local", help="folder for data, logs and stack.json")
    arguments = parser.parse_args()
    for number in ENDS:
        signal.signal(number, _leave)  # SIGINT too: a background job of a shell inherits it as ignored
    try:
        return demo.run(arguments.folder) if arguments.command == "demo" else serve.run(arguments.folder)
    except (Busy, NoServer, ProcessDied, NotReady, DemoFailed) as error:
        print(f"devstack: {error}\nsee the logs in {arguments.folder / 'logs'}", file=sys.stderr)
        return 1


def _leave(number: int, _: FrameType | None) -> None:
    """Stops everything in order. A second signal exits at once; testkit's guardian process then ends the children."""
    for again in ENDS:
        signal.signal(again, _at_once)
    raise SystemExit(128 + number)


def _at_once(number: int, _: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
