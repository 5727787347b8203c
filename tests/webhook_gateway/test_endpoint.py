"""What is wrong with the webhook endpoint, from its object in Stripe's API."""

from __future__ import annotations

from typing import Any

import pytest

from webhook_gateway.endpoint import EndpointProblem, problems_of
from webhook_gateway.translate import TRANSLATED
from webhook_gateway.webhook import PATHS

VERSION = "2026-10-28.endive"
URL = "https://pay.school.example/api/stripe/webhook"


def endpoint(**changed: Any) -> dict[str, Any]:
    return {"url": URL, "status": "enabled", "enabled_events": [*TRANSLATED], "api_version": VERSION, **changed}


def problems(*endpoints: dict[str, Any], url: str = "") -> set[EndpointProblem]:
    return set(problems_of(endpoints, url=url, paths=PATHS, api_version=VERSION))


@pytest.mark.parametrize("url", ["", URL, URL + "/"])
@pytest.mark.parametrize("events", [["*"], [*TRANSLATED], [*TRANSLATED, "account.updated"]])
def test_a_right_endpoint_has_no_problem(url: str, events: list[str]) -> None:
    assert problems(endpoint(enabled_events=events), url=url) == set()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"status": "disabled"}, EndpointProblem.DISABLED),
        ({"url": "https://pay.school.example/stripe"}, EndpointProblem.MISSING),
        ({"enabled_events": [*TRANSLATED - {"invoice.paid"}]}, EndpointProblem.EVENT_TYPES),
        ({"enabled_events": None}, EndpointProblem.EVENT_TYPES),
        ({"api_version": "2024-06-20"}, EndpointProblem.API_VERSION),
        ({"api_version": None}, EndpointProblem.API_VERSION),
    ],
)
def test_each_problem_is_found(changed: dict[str, Any], expected: EndpointProblem) -> None:
    assert problems(endpoint(**changed)) == {expected}


def test_an_endpoint_of_another_host_is_not_ours_if_the_url_is_set() -> None:
    assert problems(endpoint(), url="https://other.school.example/api/stripe/webhook") == {EndpointProblem.MISSING}


def test_of_several_endpoints_the_best_one_counts() -> None:
    assert problems(endpoint(status="disabled"), endpoint()) == set()


def test_the_missing_types_are_named() -> None:
    (found,) = problems_of(
        [endpoint(enabled_events=[*TRANSLATED - {"invoice.paid", "refund.failed"}])],
        url="",
        paths=PATHS,
        api_version=VERSION,
    ).values()
    assert found == "not sent: invoice.paid, refund.failed"
