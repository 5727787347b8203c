"""Enrolling: the catalog, one item with its price, and the way to the page where it is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import CurrentSession, SignInRequired
from portal.forms import PostedForm, idempotency_key
from portal.item_prices import price_of
from portal.offers import Item, grouped, guests_may_buy, has_card_form, has_plan, item_of
from portal.payment_pages import payment_redirect
from portal.problems import UNKNOWN_ITEM
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(include_in_schema=False)

CODE_LENGTH = 100
"""The longest promotion code, in characters."""


@dataclass(frozen=True)
class Choice:
    """What the form of an item says. `payment`: full or plan; `interval`: of a membership."""

    payer: str = "student"
    payment: str = "full"
    interval: str = "month"
    code: str = ""

    @property
    def query(self) -> str:
        return urlencode({"payer": self.payer, "payment": self.payment, "interval": self.interval, "code": self.code})


def choice_of(item: Item, values: dict[str, str]) -> Choice:
    """Anything else than the offered values is the default."""
    return Choice(
        payer="sponsor" if values.get("payer") == "sponsor" else "student",
        payment="plan" if values.get("payment") == "plan" and has_plan(item) else "full",
        interval="year" if values.get("interval") == "year" and item["annual_price"] is not None else "month",
        code=values.get("code", "").strip()[:CODE_LENGTH],
    )


async def _catalog(api: CurrentApi) -> list[Item]:
    return await api.all("checkout", "/api/catalog", limit=200)


Catalog = Annotated[list[Item], Depends(_catalog)]


@router.get("/")
async def home(request: Request, catalog: Catalog) -> Response:
    return render(request, "home.html", groups=grouped(catalog))


@router.get("/enroll")
async def list_items(
    request: Request, catalog: Catalog, program: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    if program and item_of(catalog, program):
        return RedirectResponse(f"/enroll/items/{item_of(catalog, program)['slug']}", 303)  # type: ignore[index]
    return render(request, "catalog.html", title="Enroll", groups=grouped(catalog))


@router.get("/micro-classes")
async def list_courses(request: Request, catalog: Catalog) -> Response:
    courses = [item for item in catalog if item["kind"] == "course"]
    return render(request, "catalog.html", title="Micro classes", groups=grouped(courses))


@router.get("/enroll/items/{slug}")
async def show_item(
    request: Request, slug: str, catalog: Catalog, api: CurrentApi, session: CurrentSession
) -> Response:
    item = found(catalog, slug)
    return await _item_page(request, api, session, item, choice_of(item, dict(request.query_params)))


@router.post("/enroll/items/{slug}")
async def buy_item(
    request: Request, slug: str, catalog: Catalog, api: CurrentApi, session: CurrentSession, form: PostedForm
) -> Response:
    """Leads to the page where it is paid. The price that was displayed is compared with the catalog's."""
    item = found(catalog, slug)
    choice = choice_of(item, dict(form))
    if session.user is None and not guests_may_buy(item):
        raise SignInRequired(f"/enroll/items/{item['slug']}?{choice.query}")
    try:
        url = await _open(api, request, item, choice, price=form.get("price", ""), key=idempotency_key(form))
    except ServiceError as error:
        if error.status == 401:
            raise
        status = 409 if error.status == 400 else error.status
        return await _item_page(request, api, session, item, choice, problem=error, status=status)
    return payment_redirect(request, url)


async def _open(api: Api, request: Request, item: Item, choice: Choice, *, price: str, key: str) -> str:
    """The URL of the page to pay on. Raises ServiceError."""
    code: dict[str, object] = {"promotionCode": choice.code} if choice.code else {}
    slug = item["slug"]
    match item["kind"]:
        case "program":
            body = {"programName": item["name"], "programSlug": slug, "price": price, "paymentType": choice.payment}
            answer = await api.post("checkout", "/api/create-checkout-session", body | code, key=key)
        case "membership":
            body = {"membership": slug, "interval": choice.interval}
            promotion = {"promotion_code": choice.code} if choice.code else {}
            answer = await api.post("checkout", "/api/memberships", body | promotion, key=key)
        case "track":
            page = request.app.state.settings.portal_url
            body = {
                "track": slug,
                "success_url": f"{page}/enroll/success?session_id={{CHECKOUT_SESSION_ID}}&program={slug}",
                "cancel_url": f"{page}/enroll/cancel?program={slug}",
            }
            answer = await api.post("checkout", "/api/payments/create-checkout-session", body | code, key=key)
        case _:
            answer = await api.post("checkout", "/api/checkout", {"courseId": slug} | code, key=key)
    return str(answer["url"])


async def _item_page(
    request: Request,
    api: Api,
    session: CurrentSession,
    item: Item,
    choice: Choice,
    *,
    problem: ServiceError | None = None,
    status: int = 200,
) -> Response:
    price, code_problem = await price_of(
        api, item["slug"], choice.code, payment_type=choice.payment, interval=choice.interval
    )
    methods = []
    if item["kind"] == "program":
        found = await api.get(
            "checkout", "/api/payment-methods", program=item["slug"], payer=choice.payer, paymentType=choice.payment
        )
        methods = found["items"]
    return render(
        request,
        "item.html",
        status,
        item=item,
        choice=choice,
        price=price,
        methods=methods,
        problem=problem,
        code_problem=code_problem,
        has_plan=has_plan(item),
        has_card_form=choice.payment == "full" and has_card_form(item, price),
        sign_in_first=session.user is None and not guests_may_buy(item),
        key=str(uuid4()),
    )


def found(catalog: list[Item], reference: str) -> Item:
    item = item_of(catalog, reference)
    if item is None:
        raise UNKNOWN_ITEM()
    return item
