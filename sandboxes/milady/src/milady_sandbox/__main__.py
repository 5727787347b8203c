"""`python -m milady_sandbox`: serves until SIGTERM or SIGINT, then finishes open requests and exits."""

from __future__ import annotations

import uvicorn

from milady_sandbox.app import create_app
from milady_sandbox.settings import Settings


def main() -> None:
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        timeout_keep_alive=75,  # longer than a client's
        log_level=settings.log_level,
        timeout_graceful_shutdown=2,
        server_header=False,
    )


if __name__ == "__main__":
    main()
