"""Receipts as PDFs: any content can be rendered and read, and stays small."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from tests.checkout.pdf_text import text_of

from checkout.receipts.domain import Buyer, Content, Line, Refund, Seller, SumLine, changes_since_issue
from checkout.receipts.pdf import render
from contracts.checkout import ReceiptIssued
from contracts.money import Money, usd

ID = UUID("6a1f9f0e-31c4-4f07-9d57-0c1f6a7be001")
STUDENT = UUID("6a1f9f0e-31c4-4f07-9d57-0c1f6a7be002")
AT = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
MOST_OF_THE_EVENT = ReceiptIssued.model_fields["pdf"].metadata[0].max_length


def content(**other: Any) -> Content:
    return Content(
        **{
            "number": "R-2026-000001",
            "kind": "receipt",
            "issued_at": AT,
            "seller": Seller(name="Elevate", address=("12 Main Street", "Springfield, IL"), tax_id="12-3456789"),
            "buyer": Buyer(name="Łukasz Żółć", email="lukasz@example.org"),
            "purchase_id": ID,
            "student_id": STUDENT,
            "program": "Barber Apprenticeship",
            "lines": (Line(text="Barber Apprenticeship", amount=usd(489_000)),),
            "list_price": usd(489_000),
            "total": usd(489_000),
            "paid": usd(489_000),
            "paid_at": AT,
            "method": "card",
            "refs": ("pi_1",),
            **other,
        }
    )


def test_the_receipt_contains_everything() -> None:
    document = content(
        discount=usd(48_900), promotion_code="SPRING10", total=usd(440_100), paid=usd(110_025), installment=2,
        installments=4, tax=usd(825), method="us_bank_account", terms_accepted="Terms 7 accepted on 2026-11-20.",
    )  # fmt: skip
    text = text_of(render(document, [Refund(at=AT, amount=usd(5_000))]))
    for part in (
        "Elevate", "12 Main Street", "Springfield, IL", "Tax ID 12-3456789", "Receipt", "R-2026-000001", "2026-11-21",
        str(ID), str(STUDENT), "Received from", "Łukasz Żółć", "lukasz@example.org", "Barber Apprenticeship",
        "4,890.00 USD", "Discount (SPRING10)", "-489.00 USD", "4,401.00 USD", "1,100.25 USD",
        "Paid on 2026-11-21 by bank debit", "installment 2 of 4", "of which tax", "8.25 USD", "pi_1",
        "Terms 7 accepted",
        "Refunded on 2026-11-21", "-50.00 USD", "Net paid after refunds", "1,050.25 USD",
    ):  # fmt: skip
        assert part in text, (part, text)


def test_an_invoice_names_payer_and_student() -> None:
    document = content(
        kind="invoice", number="I-2026-000001", buyer=Buyer(name="WIOA Region 5", email="finance@wioa.example"),
        funding_source="WIOA", paid=usd(100_000), terms="Payable on receipt.",
    )  # fmt: skip
    text = text_of(render(document))
    for part in ("Invoice", "I-2026-000001", "Billed to", "WIOA Region 5", "finance@wioa.example", "Funding WIOA"):
        assert part in text, (part, text)
    assert str(STUDENT) in text
    assert "Payable on receipt." in text
    assert SumLine("Still due", usd(389_000), strong=True) in document.sums


@pytest.mark.parametrize(
    ("paid", "tax", "labels"),
    [
        (usd(529_342), usd(40_342), ["Tax", "Total", "Paid"]),
        (usd(489_000), usd(40_342), ["Total", "Paid", "of which tax"]),
        (usd(489_000), usd(0), ["Total", "Paid"]),
        (usd(489_000), None, ["Total", "Paid"]),
        (Money(amount=400_000, currency="eur"), Money(amount=9, currency="eur"), ["Total", "Paid", "of which tax"]),
    ],
)
def test_tax_is_added_or_included(paid: Money, tax: Money | None, labels: list[str]) -> None:
    sums = content(paid=paid, tax=tax, method=None).sums
    assert [row.text.partition(" on ")[0] for row in sums] == labels
    assert dict((row.text, row.amount) for row in sums)["Total"] == usd(529_342 if "Tax" in labels else 489_000)


def test_refunds_in_another_currency_are_not_subtracted() -> None:
    refunds = [Refund(at=AT, amount=Money(amount=100, currency="eur")), Refund(at=AT, amount=usd(9_000))]
    assert changes_since_issue(content(), refunds)[-1].amount == usd(480_000)
    assert changes_since_issue(content(), []) == ()


@pytest.mark.parametrize("name", ["Ελένη Παπαδοπούλου", "Жук Наталія", "Đặng Thị Hòa", "李小龍", "さくら", "김철수"])
def test_names_in_other_scripts(name: str) -> None:
    text = text_of(render(content(buyer=Buyer(name=name))))
    assert name in text


@pytest.mark.parametrize("name", ["עברית", "😀", "\ud800", "a\x00b", "\u202eevil", "x" * 10_000, " ", "𠮷野", ""])
def test_characters_that_no_font_has(name: str) -> None:
    pdf = render(content(buyer=Buyer(name=name)))
    assert "R-2026-000001" in text_of(pdf)


@pytest.mark.parametrize(
    ("money", "written"),
    [
        (Money(amount=489_000, currency="jpy"), "489,000 JPY"),
        (Money(amount=1_234_567, currency="kwd"), "1,234.567 KWD"),
        (Money(amount=5, currency="eur"), "0.05 EUR"),
    ],
)
def test_each_currency_has_its_decimals(money: Money, written: str) -> None:
    document = content(lines=(Line(text="x", amount=money),), list_price=money, total=money, paid=money)
    assert text_of(render(document)).count(written) == 3


def test_many_lines_take_many_pages() -> None:
    document = content(lines=tuple(Line(text=f"Part {n}", amount=usd(n)) for n in range(1, 121)))
    pdf = render(document)
    assert len(PdfReader(BytesIO(pdf)).pages) > 2
    text = text_of(pdf)
    assert all(f"Part {n} " in text for n in (1, 60, 120))


def test_it_is_small_and_deterministic() -> None:
    document, refunds = content(), [Refund(at=AT, amount=usd(5_000))]
    pdf = render(document, refunds)
    assert all(render(document, refunds) == pdf for _ in range(5))
    assert len(pdf) < 60_000
    assert PdfReader(BytesIO(pdf)).metadata.creation_date == AT  # type: ignore[union-attr]


def test_another_process_renders_the_same_bytes() -> None:
    program = (
        "import sys; from checkout.receipts.domain import Content; from checkout.receipts.pdf import render;"
        "sys.stdout.buffer.write(render(Content.model_validate_json(sys.stdin.read())))"
    )
    made = subprocess.run(
        [sys.executable, "-c", program],
        input=content().model_dump_json().encode(),
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        capture_output=True,
        check=True,
    )
    assert made.stdout == render(content())


texts = st.text(st.characters(), max_size=600)
monies = st.builds(
    Money,
    amount=st.integers(-(2**63), 2**63 - 1),
    currency=st.sampled_from(("usd", "jpy", "kwd", "eur", "xxx")),
)
times = st.integers(86_400, 250_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
contents = st.builds(
    Content,
    number=texts,
    issued_at=times,
    seller=st.builds(Seller, name=texts, address=st.lists(texts, max_size=5).map(tuple), tax_id=texts),
    buyer=st.builds(Buyer, name=texts, email=texts),
    program=texts,
    lines=st.lists(st.builds(Line, text=texts, amount=st.none() | monies), max_size=12).map(tuple),
    list_price=monies,
    discount=st.none() | monies,
    promotion_code=st.none() | texts,
    total=monies,
    tax=st.none() | monies,
    paid=monies,
    paid_at=times,
    method=st.none() | texts,
    refs=st.lists(texts, max_size=6).map(tuple),
    installment=st.none() | st.integers(-2, 2**31),
    installments=st.none() | st.integers(-2, 2**31),
    funding_source=st.none() | texts,
    terms=st.none() | texts,
)


@settings(max_examples=settings().max_examples * 3 // 5, suppress_health_check=list(HealthCheck))
@given(contents, st.lists(st.builds(Refund, at=times, amount=monies), max_size=30))
def test_any_content_can_be_rendered(document: Content, refunds: list[Refund]) -> None:
    pdf = render(document, refunds)
    assert pdf.startswith(b"%PDF")
    assert len(pdf) * 4 / 3 < MOST_OF_THE_EVENT
    assert len(PdfReader(BytesIO(pdf), strict=True).pages) > 0
