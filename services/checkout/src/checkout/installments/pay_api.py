"""The links in mails and invoices: no token of the identity provider, as the link itself cannot be guessed."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse

from checkout.installments.pay_link_service import PayLinkService
from kit.http.limits import LIMIT_GUESSES

router = APIRouter(tags=["pay"], dependencies=[LIMIT_GUESSES])

_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
_ANSWERS: dict[int | str, dict[str, Any]] = {  # Any: an OpenAPI fragment
    303: {"description": "to the page; if it is paid already, to the front end's success page"},
}


def _links(request: Request) -> PayLinkService:
    return cast(PayLinkService, request.app.state.pay_link_service)


Links = Annotated[PayLinkService, Depends(_links)]


@router.head("/pay/{token}", include_in_schema=False)
@router.get("/pay/{token}", status_code=303, response_class=RedirectResponse, responses=_ANSWERS)
async def open_pay_link(token: str, links: Links) -> RedirectResponse:
    """Opens a current page of Stripe's on which the purchase or the installment is paid. The link works until it is
    paid or withdrawn: 410 then says what to do."""
    return RedirectResponse(await links.page(token), 303, headers=_HEADERS)


@router.head("/pay/{token}/invoice.pdf", include_in_schema=False)
@router.get("/pay/{token}/invoice.pdf", status_code=303, response_class=RedirectResponse, responses=_ANSWERS)
async def download_invoice(token: str, links: Links) -> RedirectResponse:
    """The PDF of a sponsor's invoice, which exists as soon as it is sent."""
    return RedirectResponse(await links.document(token), 303, headers=_HEADERS)
