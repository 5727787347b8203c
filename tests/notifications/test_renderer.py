"""How mails are rendered, with any content of their values."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.notifications.harness import bodies, settings_of

from contracts.money import Money, usd
from contracts.people import Contact
from notifications.renderer import Branding, address_of, compose, render, safe_name
from testkit.smtp import MailCatcher

BRANDING = Branding(
    seller="Elevate <Barber> School",
    sender="enrollment@school.example.com",
    support=None,
    portal="https://portal.example.com",
)
AT = datetime(2026, 3, 3, 14, 5, tzinfo=UTC)
PAGE = "https://invoice.example.com/i/in_1"
PROGRAM = "Cuts & <b>Shaves</b>"
PAYER: dict[str, Any] = {"payer": "student", "student": "Ann <b>Archer</b>", "student_id": "an-id"}
MONEY: dict[str, Any] = {"program": PROGRAM, "noun": "enrollment", "amount": usd(489_000), **PAYER}
ITEM: dict[str, Any] = {
    "program": PROGRAM,
    "slug": "cuts",
    "noun": "enrollment",
    "kind": "program",
    "taught": True,
    "tier": None,
    "enrollments": [],
}
OPENED: dict[str, Any] = ITEM | {
    "instructor": {"name": "<script>alert(1)</script>", "specialty": None},
    "awaits_instructor": False,
    "links": [{"title": "<i>Theory</i>", "url": 'https://milady.example.com/"><script>'}],
}
FAILED = MONEY | {"slug": "cuts", "failed_at": AT, "bank_debit": False, "installment": False}
UNPAID = MONEY | {"enrollment_status": "closed", "final": False, "pay_url": PAGE, "due_at": AT, "overdue": True}
CONTEXTS: dict[str, dict[str, Any]] = {
    "receipt": MONEY
    | {
        "paid_at": AT,
        "paid_with": "Visa ending in 4242",
        "remaining": None,
        "reference": "pi_1",
        "payments": 1,
        "installments": None,
    }
    | {"enrollment_status": "opens", "still_due": None, "welcome_follows": True, "tax": None, "documents": []}
    | {"everything_paid": False, "counted": False, "pay_url": None, "awaited_payer": None},
    "welcome": OPENED,
    "enrollment-reopened": OPENED,
    "instructor": OPENED,
    "course-links": OPENED,
    "payment-failed": FAILED
    | {"reason": "other", "enrollment_status": "closed", "final": False, "next_attempt_at": None, "pay_url": None},
    "sponsor-link": MONEY
    | {"url": "https://pay.example.com/?a=1&b=2", "funding_source": None, "expires_at": None, "reference": "r"}
    | {"invoices": 1, "due_at": AT, "authorization_number": "<b>A-1</b>", "co_pay": usd(39_000)},
    "payment-unpaid": UNPAID,
    "payment-pending": MONEY | {"submitted_at": AT, "opens": True},
    "payment-action-required": MONEY | {"action": "verify_bank_account", "url": PAGE},
    "payment-returned": MONEY
    | {"taken_back": "returned", "enrollment_status": "paused", "reference": "pi_1", "pay_url": PAGE},
    "installment-announced": MONEY
    | {"due_at": AT, "position": 2, "installments": 4, "automatic": True, "pay_url": PAGE, "co_pay": False},
    "refund-failed": MONEY,
    "membership-changed": {"program": PROGRAM, "noun": "membership", "change": "tier", "tier": "<b>Gold</b>"}
    | {"former_tier": "Silver", "price": usd(1), "on": None},
    "enrollment-completed": ITEM,
    "refund": MONEY
    | {
        "paid": usd(489_000),
        "full": True,
        "fully_refunded": True,
        "manual": False,
        "enrollment_ended": False,
        "enrollment_unchanged": False,
        "reference": "pi_1",
    },
    "enrollment-paused": ITEM
    | {"reason": "past_due", "payer": "student", "missed": None, "pay_url": None, "reopens": True, "remaining": None}
    | {"plan_ended": False, "resumes_at": None},
    "enrollment-resumed": ITEM,
    "enrollment-withdrawn": ITEM
    | {"reason": "canceled", "ended_by": "school", "ended_because": "Too <b>few</b>", "refunds": [usd(1)]},
    "refund-requested": {"program": PROGRAM, "amount": None, "noun": "enrollment"},
    "refund-approved": {"program": PROGRAM, "amount": usd(1), "noun": "enrollment"},
    "refund-rejected": {"program": None, "amount": None, "noun": "enrollment"},
    "alert-anything": {"headline": PROGRAM, "details": {"Due": AT, "Amount": usd(1)}, "to_do": "<Act>"},
}


def parsed(template: str, name: str | None = None) -> EmailMessage:
    rendered = render(template, CONTEXTS[template], name=name, branding=BRANDING)
    to = [address_of(Contact(email="ann@student.example.com", name=name))]
    raw = compose(rendered, to=to, branding=BRANDING, message_id="<1@x>", at=AT)
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(mail, EmailMessage) and raw.isascii() and max(map(len, raw.splitlines())) < 998
    return mail


@pytest.mark.parametrize("template", CONTEXTS)
def test_every_mail_is_complete_and_escapes_its_context(template: str) -> None:
    mail = parsed(template, name="Ann Archer")
    text, html = bodies(mail)
    assert mail["Subject"] and mail["From"] == '"Elevate <Barber> School" <enrollment@school.example.com>'
    assert mail.get_content_type() == "multipart/alternative"
    assert "<b>" not in html and "<script>" not in html and "<i>" not in html
    assert "{" not in text and "None" not in text and "\n\n\n" not in text and "&amp;" not in text
    assert "https://portal.example.com" in text and "https://portal.example.com" in html
    assert ("Hello Ann Archer," in text) == (not template.startswith("alert"))


@pytest.mark.parametrize("noun", ["membership", "access", "enrollments"])
@pytest.mark.parametrize("template", [name for name, context in CONTEXTS.items() if "noun" in context])
def test_memberships_products_and_bundles_have_their_own_noun(template: str, noun: str) -> None:
    own = {"program": "Gold", "noun": noun, "taught": False, "instructor": None}
    if noun == "enrollments":
        own["enrollments"] = [OPENED | {"program": "Fades", "instructor": None, "links": []}]
    if template in ("instructor", "course-links", "enrollment-reopened", "enrollment-completed", "membership-changed"):
        return  # always about one enrollment
    rendered = render(template, CONTEXTS[template] | own, name=None, branding=BRANDING)
    for part in (rendered.text, unescape(re.sub("<[^>]*>", " ", rendered.html))):
        if noun != "enrollments":
            assert not re.search(r"instructor|lesson|enrolled|enrollment in", part), part
        elif template.startswith(("enrollment-", "welcome")):
            assert "Fades" in part


def test_every_template_is_covered_above() -> None:
    from notifications import renderer

    found = {file.stem for file in (Path(renderer.__file__).parent / "templates").glob("*.html")}
    assert found - {"base", "components", "refunds-so-far"} == {
        "alert" if name.startswith("alert") else name for name in CONTEXTS
    }


@pytest.mark.parametrize(
    ("name", "greeted"),
    [
        ("Ann Archer", "Ann Archer"),
        ("Zoë 李雷 O'Neill-Smith", "Zoë 李雷 O'Neill-Smith"),
        ("Ann\r\nBcc: all@school.example.com", None),
        ("Ann\r\nX-Evil: 1", "Ann X-Evil: 1"),
        ("Ann\u202egnp.exe", None),
        ("Click https://evil.example.com", None),
        ("<b>Ann</b>", None),
        ("x" * 81, None),
        ("\x00\x07", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_plain_name_is_used_in_the_greeting(name: str | None, greeted: str | None) -> None:
    assert safe_name(name) == greeted
    mail = parsed("welcome", name=name)
    assert mail["Bcc"] is None and mail["X-Evil"] is None
    assert bodies(mail)[0].startswith(f"Hello {greeted}," if greeted else "Hello,")


def test_a_value_cannot_add_lines_to_the_text() -> None:
    context = OPENED | {"instructor": {"name": "Ada\n\nPay here", "specialty": None}, "links": []}
    assert "Ada Pay here" in render("welcome", context, name=None, branding=BRANDING).text


NOTHING = " There is nothing you need to do."


@pytest.mark.parametrize(
    ("context", "next_"),
    [
        (
            {"enrollment_status": "opens"},
            "your enrollment opens automatically, and you will get a welcome email." + NOTHING,
        ),
        (
            {"enrollment_status": "opens", "installments": 4},
            "your enrollment opens automatically, and you will get a welcome email." + NOTHING,
        ),
        ({"enrollment_status": "opens", "welcome_follows": False}, "your enrollment opens automatically." + NOTHING),
        ({"enrollment_status": "opens", "payer": "sponsor"}, "the student's enrollment opens automatically." + NOTHING),
        ({"enrollment_status": "open"}, "your enrollment is open." + NOTHING),
        (
            {"enrollment_status": "open", "payments": 3, "installments": 4},
            "your enrollment stays open, and your payment plan continues." + NOTHING,
        ),
        (
            {"enrollment_status": "open", "payments": 4, "installments": 4, "everything_paid": True},
            "everything is paid, and your enrollment stays open." + NOTHING,
        ),
        (
            {"enrollment_status": "opens", "payments": 4, "installments": 4, "everything_paid": True},
            "everything is paid, and your enrollment opens automatically." + NOTHING,
        ),
        (
            {"enrollment_status": "underpaid", "still_due": usd(98_900)},
            "your enrollment opens when the full price is paid. Still due: 989.00 USD.",
        ),
        ({"enrollment_status": "underpaid"}, "your enrollment opens when the full price is paid."),
        (
            {"enrollment_status": "underpaid", "awaited_payer": "sponsor", "pay_url": PAGE},
            "your enrollment opens when the sponsor has paid the rest." + NOTHING,
        ),
        (
            {"enrollment_status": "underpaid", "payer": "sponsor", "awaited_payer": "student", "pay_url": PAGE},
            "the student's enrollment opens when the student has paid the co-pay." + NOTHING,
        ),
    ],
)
def test_a_receipt_explains_what_happens_next(context: dict[str, Any], next_: str) -> None:
    rendered = render("receipt", CONTEXTS["receipt"] | context, name=None, branding=BRANDING)
    for part in (rendered.text, rendered.html):
        assert f"What happens next: {next_}" in part
        nothing = context["enrollment_status"] != "underpaid" or "awaited_payer" in context
        assert ("nothing you need to do" in part) == nothing
        assert not ("awaited_payer" in context and PAGE in part), "it is not theirs to pay"


def test_a_receipt_promises_nothing_when_the_enrollment_does_not_open() -> None:
    rendered = render("receipt", CONTEXTS["receipt"] | {"enrollment_status": None}, name=None, branding=BRANDING)
    for part in (rendered.text, rendered.html):
        assert "enrollment" not in part and "nothing you need to do" not in part


@pytest.mark.parametrize(
    ("context", "phrases", "leads_to"),
    [
        (
            {"enrollment_status": "open", "next_attempt_at": AT},
            ["We will try again on", "Your enrollment stays open in the meantime"],
            None,
        ),
        (
            {"enrollment_status": "closed", "next_attempt_at": AT},
            ["We will try again on", "Your enrollment opens as soon as"],
            None,
        ),
        (
            {"enrollment_status": "closed", "final": True},
            ["Your enrollment opens as soon as"],
            "https://portal.example.com/enroll",
        ),
        (
            {"enrollment_status": "paused", "final": True},
            ["and your enrollment is paused until it is paid", "your enrollment opens again as soon as"],
            PAGE,
        ),
        (
            {"enrollment_status": "open", "final": True},
            ["will not try this payment again", "Your enrollment stays open"],
            PAGE,
        ),
        ({"enrollment_status": None, "final": True}, ["will not try this payment again automatically."], PAGE),
        (
            {"enrollment_status": "paused", "final": True, "payer": "sponsor"},
            ["the student's enrollment is paused", "(student: an-id)"],
            PAGE,
        ),
    ],
)
def test_a_failure_mail_has_the_enrollments_status_and_where_to_pay(
    context: dict[str, Any], phrases: list[str], leads_to: str | None
) -> None:
    given = CONTEXTS["payment-failed"] | {"pay_url": PAGE if leads_to == PAGE else None} | context
    rendered = render("payment-failed", given, name=None, branding=BRANDING)
    for part in (rendered.text, rendered.html):
        assert all(each in unescape(re.sub("<[^>]*>", "", part)) for each in phrases)
        assert part.count("enrollment is paused") == (context["enrollment_status"] == "paused")
    if leads_to:
        assert f"here: {leads_to}" in rendered.text or f"To pay: {leads_to}" in rendered.text
        assert f'href="{leads_to}"' in rendered.html
    else:
        assert "To pay" not in rendered.text and "Pay now" not in rendered.html


@pytest.mark.parametrize(
    ("money", "formatted"),
    [
        (usd(5), "0.05 USD"),
        (usd(489_000), "4,890.00 USD"),
        (Money(amount=500, currency="jpy"), "500 JPY"),
        (Money(amount=1_234_567, currency="kwd"), "1,234.567 KWD"),
    ],
)
def test_amounts_are_written_in_their_currency(money: Money, formatted: str) -> None:
    rendered = render("receipt", CONTEXTS["receipt"] | {"amount": money}, name=None, branding=BRANDING)
    assert formatted in rendered.subject and formatted in rendered.text and formatted in rendered.html


def test_a_name_in_another_alphabet_is_encoded() -> None:
    mail = parsed("welcome", name="Zoë 李雷")
    assert mail["To"].addresses[0].display_name == "Zoë 李雷" and "Zoë 李雷" in bodies(mail)[1]


def test_the_seller_is_one_setting(mail: MailCatcher) -> None:
    """The same that checkout prints on receipts; a name in MAIL_FROM does not count."""
    named = settings_of(mail, seller_name="Elevate", mail_from="Bursar <enrollment@school.example.com>")
    branding = Branding.of(named)
    assert (branding.seller, branding.sender) == ("Elevate", "enrollment@school.example.com")
    rendered = render("alert-anything", CONTEXTS["alert-anything"], name=None, branding=branding)
    assert "an admin of Elevate" in rendered.text and "Bursar" not in rendered.text + rendered.html
    assert Branding.of(settings_of(mail, seller_name="")).seller == "The school"


def test_no_mail_builds_a_link_to_pay() -> None:
    from notifications import renderer

    for file in (Path(renderer.__file__).parent / "templates").iterdir():
        assert "/pay" not in file.read_text(), "links to pay come from events"


def test_an_id_is_derived_from_its_key() -> None:
    from notifications.message import notification_id

    assert notification_id("receipt/pi_1") == notification_id("receipt/pi_1") != notification_id("receipt/pi_2")
    assert isinstance(notification_id("x"), UUID)
