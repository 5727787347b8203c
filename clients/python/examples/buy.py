"""Buys a program, and waits for the enrollment: BURSAR_URL=… BURSAR_TOKEN=… python buy.py cpr"""

from __future__ import annotations

import os
import sys
import time
from typing import assert_never

from bursar_client import AuthenticatedClient
from bursar_client.api.checkout import create_checkout_session, list_programs
from bursar_client.api.enrollments import list_enrollments
from bursar_client.models.checkout_answer import CheckoutAnswer
from bursar_client.models.checkout_request import CheckoutRequest
from bursar_client.models.enrollment_view_page import EnrollmentViewPage
from bursar_client.models.internal_error_500 import InternalError500
from bursar_client.models.program_offer_page import ProgramOfferPage
from bursar_client.models.unavailable_503 import Unavailable503


def price_of(slug: str, client: AuthenticatedClient) -> float:
    match list_programs.sync(client=client):
        case ProgramOfferPage(items=programs):
            return next(program.price for program in programs if program.slug == slug)
        case InternalError500() | Unavailable503() as problem:
            sys.exit(problem.detail)
        case None:
            sys.exit("an answer that the document does not have")
        case other:
            assert_never(other)


def page_of(slug: str, client: AuthenticatedClient) -> str:
    """Where the program is paid."""
    body = CheckoutRequest(program_slug=slug, price=price_of(slug, client), payment_type="full")
    answer = create_checkout_session.sync(client=client, body=body)
    if isinstance(answer, CheckoutAnswer):
        return answer.url
    if answer is not None and answer.code == "already_enrolled":
        sys.exit("You are enrolled already.")
    sys.exit(f"Your enrollment could not be started ({answer and answer.code}).")


def main(slug: str) -> None:
    client = AuthenticatedClient(os.environ["BURSAR_URL"], os.environ["BURSAR_TOKEN"])
    print(page_of(slug, client), flush=True)
    while True:
        listed = list_enrollments.sync(client=client, program_slug=slug)
        if not isinstance(listed, EnrollmentViewPage):
            sys.exit(listed.detail if listed else "an answer that the document does not have")
        if any(each.status == "active" for each in listed.items):
            break
        time.sleep(0.5)
    print("enrolled")


if __name__ == "__main__":
    main(*sys.argv[1:])
