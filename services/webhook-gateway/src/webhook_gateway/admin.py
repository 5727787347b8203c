"""The role `admin`: an API for operators, with the deployment's login at the broker. It is not for the public: see
decision 30."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI

from kit.http import database_health
from kit.http.app import create_app
from kit.http.auth import Authenticator
from kit.http.limits import Limits, is_change, is_read, limited
from kit.messaging.topology import Queue, check_declared
from webhook_gateway import dead_letters_api, deliveries_api, differences_api, export_api, operations_api
from webhook_gateway.admin_context import AdminContext
from webhook_gateway.topology import SERVICE

LIMITS = {"reads": "120/minute", "changes": "20/minute"}
"""Of each caller. Counted in this process: one of it runs."""


def app(context: AdminContext, authenticator: Authenticator, limits: Mapping[str, str] = LIMITS) -> FastAPI:
    created = create_app(
        package="webhook_gateway",
        title=f"{SERVICE}-admin",
        description=__doc__ or "",
        tags={"operations": "For operators: dead letters, replays, lost events, deliveries, scaling."},
        routers=[
            dead_letters_api.router,
            operations_api.router,
            differences_api.router,
            deliveries_api.router,
            export_api.router,
            database_health.router,
        ],
        dependencies=[limited("reads", is_read), limited("changes", is_change)],
        checks={"database": context.database.ping, "queues": lambda: _declared(context)},
    )
    created.state.context = context
    created.state.database = context.database
    created.state.authenticator = authenticator
    created.state.limits = Limits(limits)
    return created


async def _declared(context: AdminContext) -> None:
    await check_declared(context.amqp_url, [Queue(name) for name in context.queues])
