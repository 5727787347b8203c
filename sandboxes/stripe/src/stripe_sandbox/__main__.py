"""`python -m stripe_sandbox`: serves until SIGTERM or SIGINT, then finishes open requests and exits."""

from __future__ import annotations

import sys

import uvicorn

from stripe_sandbox.app import create_app
from stripe_sandbox.settings import Settings


def main() -> None:
    settings = Settings()
    try:
        app = create_app(settings)
    except ValueError as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        timeout_keep_alive=75,  # longer than a client's
        log_level=settings.log_level,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


if __name__ == "__main__":
    main()
