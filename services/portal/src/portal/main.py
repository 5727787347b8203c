"""Composition root of the portal: settings in, one process out."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

import portal
from kit.http.app import create_app
from kit.runtime.process import Process, Role
from portal import (
    account_pages,
    admin_dead_letter_pages,
    admin_health_pages,
    admin_installment_pages,
    admin_pages,
    admin_purchase_pages,
    admin_record_pages,
    card_pages,
    caseload_pages,
    dashboard_pages,
    enroll_pages,
    figures_pages,
    forwarder,
    instructor_pages,
    payment_pages,
    record_list_pages,
    renderer,
    revenue_pages,
    sign_in,
    sponsor_pages,
    success_pages,
)
from portal.access import SignInRequired
from portal.problem_pages import handle_page_errors
from portal.renderer import Renderer
from portal.service_client import Services
from portal.sessions import SessionCookie, SessionMiddleware
from portal.settings import ApiSettings
from portal.sign_in import IdentityProvider

SERVICE = "portal"

PAGES: tuple[APIRouter, ...] = (
    renderer.router,
    sign_in.router,
    success_pages.router,
    enroll_pages.router,
    card_pages.router,
    payment_pages.router,
    dashboard_pages.router,
    account_pages.router,
    instructor_pages.router,
    figures_pages.router,
    admin_pages.router,
    admin_purchase_pages.router,
    admin_dead_letter_pages.router,
    record_list_pages.router,
    admin_installment_pages.router,
    admin_health_pages.router,
    admin_record_pages.router,
    caseload_pages.router,
    sponsor_pages.router,
    revenue_pages.router,
)


def app(settings: ApiSettings) -> FastAPI:
    made = create_app(title=SERVICE, description=portal.__doc__ or "", routers=[*PAGES, forwarder.router])
    made.state.settings = settings
    made.state.renderer = Renderer(settings)
    made.state.services = Services(settings.service_urls)
    made.state.identity_provider = IdentityProvider(settings)
    made.state.session_cookie = cookie = SessionCookie(
        settings.session_secrets, seconds=settings.session_seconds, secure=settings.secure
    )
    handle_page_errors(made)
    made.add_exception_handler(SignInRequired, _to_sign_in)
    made.add_middleware(SessionMiddleware, cookie=cookie)
    return made


async def _to_sign_in(_: Request, error: Exception) -> Response:
    assert isinstance(error, SignInRequired)  # noqa: S101
    return RedirectResponse(error.location, 303)


def serve() -> Process:
    settings = ApiSettings()
    made = app(settings)
    return Process(settings=settings, app=made, close=[made.state.services.close])


ROLES: dict[str, Role] = {"api": serve}
