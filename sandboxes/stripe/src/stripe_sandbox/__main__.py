"""`python -m stripe_sandbox`: serve until SIGTERM or SIGINT, then finish what is being answered and stop."""

import uvicorn

from stripe_sandbox.app import create_app
from stripe_sandbox.settings import Settings


def main() -> None:
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


if __name__ == "__main__":
    main()
