"""Renders a document as a PDF: US Letter, embedded fonts, the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from io import BytesIO
from itertools import zip_longest

from reportlab.lib.colors import Color
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import LETTER
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table

from checkout.receipts.domain import Balance, Content, OtherPayment, Refund, SumLine, changes_since_issue
from checkout.receipts.fonts import BOLD, REGULAR, clean, markup

_MARGIN, _PADDING = 56.0, 6.0
_WIDTH = LETTER[0] - 2 * _MARGIN
_AMOUNT = 110.0
_GRAY = Color(0.4, 0.4, 0.4)

_BODY = ParagraphStyle("body", fontName=REGULAR, fontSize=9.5, leading=14, splitLongWords=1)
_STRONG = ParagraphStyle("strong", _BODY, fontName=BOLD)
_LABEL = ParagraphStyle("label", _BODY, textColor=_GRAY)
_PART = ParagraphStyle("part", _BODY, leftIndent=12)
_SMALL = ParagraphStyle("small", _BODY, fontSize=8)
_NOTE = ParagraphStyle("note", _SMALL, textColor=_GRAY)
_SELLER = ParagraphStyle("seller", _STRONG, fontSize=13, leading=17)
_TITLE = ParagraphStyle("title", _STRONG, fontSize=18, leading=24)

_PLAIN = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
]


def render(
    content: Content,
    refunds: Sequence[Refund] = (),
    others: Sequence[OtherPayment] = (),
    balance: Balance | None = None,
) -> bytes:
    """The document with its refunds, other payments and balance to date. Accepts any text and amount; takes about
    10 ms."""
    target = BytesIO()
    title = f"{_title(content)} {clean(content.number)}"
    stamp = f"D:{content.issued_at.astimezone(UTC):%Y%m%d%H%M%S}Z"

    def finish_page(canvas: Canvas, document: SimpleDocTemplate) -> None:
        canvas.setDateFormatter(lambda *_: stamp)
        footer = _text(f"{title} · page {document.page}", _NOTE)
        footer.wrapOn(canvas, _WIDTH, _MARGIN)
        footer.drawOn(canvas, _MARGIN, 36)

    document = SimpleDocTemplate(
        target,
        pagesize=LETTER,
        leftMargin=_MARGIN - _PADDING,
        rightMargin=_MARGIN - _PADDING,
        topMargin=_MARGIN - _PADDING,
        bottomMargin=64,
        title=title,
        author=clean(content.seller.name),
        creator="Bursar",
        producer="Bursar",
        lang="en",
        pageCompression=1,
        invariant=1,
    )
    story = [
        _head(content),
        Spacer(0, 24),
        *_buyer(content),
        Spacer(0, 20),
        _lines(content),
        Spacer(0, 8),
        *_sums(content.sums),
        *_sums(changes_since_issue(content, refunds, others)),
        *_sums(balance.sums if balance is not None else ()),
        Spacer(0, 24),
        *(_text(note, _NOTE) for note in _notes(content)),
    ]
    document.build(story, onFirstPage=finish_page, onLaterPages=finish_page)
    return target.getvalue()


def _head(content: Content) -> Flowable:
    """The seller on the left, what identifies the document on the right."""
    seller = [_text(content.seller.name, _SELLER), *(_text(line) for line in content.seller.address)]
    if content.seller.tax_id:
        seller.append(_text(f"Tax ID {content.seller.tax_id}"))
    facts = [(_text(label, _NOTE), _text(value, _SMALL)) for label, value in _facts(content)]
    empty = _text("")
    right = [(_text(_title(content), _TITLE), empty), *facts]
    rows = [[left or empty, *(pair or (empty, empty))] for left, pair in zip_longest(seller, right)]
    return Table(rows, colWidths=[250, 50, _WIDTH - 300], style=[*_PLAIN, ("SPAN", (1, 0), (2, 0))])


def _facts(content: Content) -> Iterator[tuple[str, str]]:
    yield "Number", content.number
    yield "Date", f"{content.issued_at.astimezone(UTC):%Y-%m-%d}"
    yield "Purchase", str(content.purchase_id)
    yield "Student", str(content.student_id)
    if content.funding_source:
        yield "Funding", content.funding_source


def _buyer(content: Content) -> Iterator[Flowable]:
    yield _text("Billed to" if content.kind == "invoice" else "Received from", _LABEL)
    buyer = content.buyer
    yield _text(buyer.name or buyer.email or content.funding_source or f"Student {content.student_id}", _STRONG)
    if buyer.name and buyer.email:
        yield _text(buyer.email)


def _lines(content: Content) -> Flowable:
    rows = [_entry("Description", "Amount", _LABEL)]
    rows += [_entry(line.text, str(line.amount or ""), _BODY if line.amount else _PART) for line in content.lines]
    rules = [("LINEBELOW", (0, row), (-1, row), 0.5, _GRAY) for row in (0, -1)]
    return Table(rows, colWidths=[_WIDTH - _AMOUNT, _AMOUNT], repeatRows=1, style=[*_PLAIN, *rules])


def _sums(lines: Sequence[SumLine]) -> Iterator[Flowable]:
    if lines:
        rows = [_entry(line.text, str(line.amount), _STRONG if line.strong else _BODY) for line in lines]
        yield Table(rows, colWidths=[_WIDTH - 80 - _AMOUNT, _AMOUNT], hAlign="RIGHT", style=_PLAIN)
        yield Spacer(0, 4)


def _entry(text: str, amount: str, style: ParagraphStyle) -> list[Flowable]:
    return [_text(text, style), _text(amount, ParagraphStyle("amount", style, alignment=TA_RIGHT, leftIndent=0))]


def _notes(content: Content) -> Iterator[str]:
    if content.refs:
        yield f"Payment reference: {', '.join(content.refs)}."
    if content.terms_accepted:
        yield content.terms_accepted
    if content.terms:
        yield content.terms


def _text(text: str, style: ParagraphStyle = _BODY) -> Flowable:
    return Paragraph(markup(text, style.fontName), style)


def _title(content: Content) -> str:
    return content.kind.capitalize()
