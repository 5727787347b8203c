"""Which web addresses reach a mail."""

from __future__ import annotations

import pytest

from notifications.links import DEFAULT_HOSTS, host_of, is_allowed, with_allowed_links
from notifications.message import Message

HOSTS = {*DEFAULT_HOSTS, "school.example", "127.0.0.1"}


@pytest.mark.parametrize(
    "url",
    [
        "https://checkout.stripe.com/c/pay/cs_1?x=1&y=2#fragment",
        "https://school.example/pay/1",
        "https://SCHOOL.example:8443/pay/1",
        "http://127.0.0.1:12111/c/pay/cs_1",
    ],
)
def test_the_schools_pages_are_allowed(url: str) -> None:
    assert is_allowed(url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/pay",
        "https://evilstripe.com/",
        "https://stripe.com.evil.example/",
        "https://checkout.stripe.com@evil.example/",
        "https://evil.example/\\.stripe.com",
        "https://evil.example\\.stripe.com",
        "https://evil.example#.stripe.com",
        "https://evil.example?.stripe.com",
        "https://other.school.example/",
        "https://sch\u043e\u043el.example/",
        "https://school.example.\tevil.example/",
        "https://[evil.example/",
        "javascript:alert(1)//school.example",
        "//evil.example/pay",
        "",
    ],
)
def test_other_pages_are_not(url: str) -> None:
    assert not is_allowed(url, HOSTS)


def test_settings_name_hosts_or_addresses() -> None:
    assert [host_of(each) for each in ("https://School.example:8000/x", "school.example", ".school.example")] == [
        *("school.example", "school.example", ".school.example")
    ]


def message(**context: object) -> Message:
    return Message(
        key="k",
        template="t",
        recipient="student",
        facts_key="f",
        student_id=None,
        context=context,
        topics=frozenset("t"),
    )


def test_what_is_not_allowed_is_left_out_and_alerted() -> None:
    evil, fine = "https://evil.example/pay", "https://school.example/course"
    (paying, alert) = with_allowed_links([message(pay_url=evil)], HOSTS, ["email"])
    assert paying.context == {"pay_url": None}
    assert (alert.recipient, alert.template) == ("admin", "alert-link-refused")
    links = [{"title": "A", "url": evil}, {"title": "B", "url": fine}]
    (linking, _) = with_allowed_links([message(links=links)], HOSTS, ["email"])
    assert linking.context == {"links": [{"title": "B", "url": fine}]}
    (only,) = with_allowed_links([message(url=evil)], HOSTS, ["email"])
    assert only.recipient == "admin", "the message is nothing but its link"
    same = message(pay_url=fine, links=[links[1]], url=fine)
    assert with_allowed_links([same], HOSTS, ["email"]) == [same]
