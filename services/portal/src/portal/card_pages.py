"""Paying an item by card on a page of ours: Stripe's card form, for an intent that checkout opens.

The page has no client secret: its script asks for it (POST), and gives it to Stripe's script. A reload finds the same
intent, because checkout resumes the purchase.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import uuid4

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.responses import Response

from kit.http.problems import INVALID_REQUEST
from portal.access import CurrentSession, CurrentUser
from portal.enroll_pages import CODE_LENGTH, Catalog, found
from portal.forms import PostedForm, idempotency_key
from portal.item_prices import price_of
from portal.offers import Item, has_card_form, has_plan
from portal.renderer import render_card_form
from portal.service_client import CurrentApi, ServiceError, ServiceUnavailable
from portal.settings import ApiSettings

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

_NO_STORE = {"Cache-Control": "no-store"}
_LATER = "The payment could not be prepared. No money was taken; try again in a moment."
_SIGNED_OUT = "Your session has ended. Sign in again to pay."
_REPRICED = "The price has changed. Nothing was charged: look at the current price."
_PRICES = frozenset({"currency_mismatch", "price_changed", "price_mismatch"})
_UNDER_WAY = frozenset({"payment_in_progress", "underpaid"})


@router.get("/enroll/items/{slug}/card")
async def show_card_form(
    request: Request,
    slug: str,
    catalog: Catalog,
    api: CurrentApi,
    _: CurrentUser,
    code: Annotated[str, Query(max_length=CODE_LENGTH)] = "",
) -> Response:
    """Opens nothing yet."""
    item = found(catalog, slug)
    price, code_problem = await price_of(api, item["slug"], code)
    if not has_card_form(item, price):
        return RedirectResponse(f"/enroll/items/{item['slug']}?{urlencode({'code': code})}", 303)
    settings: ApiSettings = request.app.state.settings
    return render_card_form(
        request,
        item=item,
        price=price,
        code="" if code_problem else code,
        code_problem=code_problem,
        has_plan=has_plan(item),
        stripe_js=settings.stripe_js_url,
        key=str(uuid4()),
    )


@router.post("/enroll/items/{slug}/card")
async def open_intent(
    request: Request, slug: str, catalog: Catalog, api: CurrentApi, session: CurrentSession, form: PostedForm
) -> Response:
    """What Stripe's script needs to pay, as JSON: `client_secret`, `publishable_key` and `return_url`, or `location` if
    nothing is due. A refusal is `detail`, and `href` and `text` of the page that helps."""
    item = found(catalog, slug)
    if session.user is None:
        return _refusal(401, _SIGNED_OUT, _sign_in(item))
    wanted = _wanted(item, form)
    try:
        opened = await api.post("checkout", "/api/payments/create-intent", wanted, key=idempotency_key(form))
    except ServiceError as error:
        return _refusal(error.status, _detail(error), _link_of(item, error))
    except ServiceUnavailable as error:
        log.warning("service unavailable", error=str(error))
        return _refusal(503, _LATER, None)
    settings: ApiSettings = request.app.state.settings
    page = f"{settings.portal_url}/enroll/success?{urlencode({'program': item['slug']})}"
    if opened["clientSecret"] is None:
        return JSONResponse({"location": page}, headers=_NO_STORE)
    if not opened["publishableKey"]:
        log.error("checkout has no STRIPE_PUBLISHABLE_KEY: nobody can pay by the card form")
        return _refusal(503, _LATER, None)
    answer = {"client_secret": opened["clientSecret"], "publishable_key": opened["publishableKey"], "return_url": page}
    return JSONResponse(answer, headers=_NO_STORE)


def _wanted(item: Item, form: PostedForm) -> dict[str, Any]:
    """`amount` is the one that was displayed: checkout refuses another one. Raises Problem."""
    amount = form.get("amount", "")
    if not (amount.isascii() and amount.isdecimal() and len(amount) < 16):
        raise INVALID_REQUEST("The form has no amount.")
    wanted = {"itemId": item["slug"], "itemType": item["kind"], "amount": int(amount), "currency": form.get("currency")}
    code = form.get("code", "").strip()[:CODE_LENGTH]
    return {**wanted, "promotionCode": code} if code else wanted


def _refusal(status: int, detail: str, link: tuple[str, str] | None) -> Response:
    href, text = link or (None, None)
    return JSONResponse({"detail": detail, "href": href, "text": text}, status, headers=_NO_STORE)


def _detail(error: ServiceError) -> str:
    """For a payer, where checkout's is for front ends."""
    if error.status == 401:
        return _SIGNED_OUT
    return _REPRICED if error.code in _PRICES else error.detail


def _link_of(item: Item, error: ServiceError) -> tuple[str, str] | None:
    """The page that helps, and what its link says."""
    if error.status == 401:
        return _sign_in(item)
    if error.code == "already_enrolled":
        return "/dashboard", "See your enrollments"
    if error.code in _UNDER_WAY:
        return f"/enroll/success?{urlencode({'program': item['slug']})}", "See the state of your payment"
    if error.code in _PRICES or error.code.startswith(("promotion_", "unknown_promotion")):
        return f"/enroll/items/{item['slug']}", "See the current price"
    return None


def _sign_in(item: Item) -> tuple[str, str]:
    return f"/sign-in?{urlencode({'return_to': _path(item)})}", "Sign in"


def _path(item: Item) -> str:
    return f"/enroll/items/{item['slug']}/card"
