"""The job that renders an issued document and publishes it, outside of the transaction that has issued it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog
from pydantic import ValidationError

from checkout.payments.domain import PaymentRecord
from checkout.payments.repository import refunds_with_refs
from checkout.purchases.update import PurchaseUpdate
from checkout.receipts import repository
from checkout.receipts.domain import Balance, OtherPayment, Refund
from checkout.receipts.repository import Document
from contracts.checkout import ReceiptIssued
from contracts.envelope import Model
from contracts.payments import PaymentRefs
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent

log = structlog.get_logger(__name__)

PUBLICATION = "receipt_publication"
"""The kind of job that renders a document and publishes it."""


class Publication(Model):
    """What is published of a document beside its content, as of its issue, so that every attempt renders the same."""

    document_id: UUID
    purchase_id: UUID
    payment_refs: PaymentRefs
    refunds: tuple[Refund, ...]
    others: tuple[OtherPayment, ...]
    balance: Balance | None


async def enqueue_publications(
    issued: Sequence[tuple[PurchaseUpdate, PaymentRefs, Document]], payments: Mapping[UUID, Sequence[PaymentRecord]]
) -> None:
    """Of new documents. `payments`: by purchase."""
    db = issued[0][0].uow.db
    documents = [document for _, _, document in issued]
    refs = frozenset().union(*(each.refs for each in documents))
    refunds = await refunds_with_refs(db, [each.payment_id for each in documents if each.payment_id], refs)
    for update, payment_refs, document in issued:
        records = payments[update.row.id]
        publication = Publication(
            document_id=document.id,
            purchase_id=update.row.id,
            payment_refs=payment_refs,
            refunds=tuple(
                Refund(at=refund.created_at, amount=refund.money)
                for refund, refs in refunds
                if refund.payment_id == document.payment_id or refs & document.refs
            ),
            others=tuple(repository.other_payments_of(document, records)),
            balance=repository.balance_of(document, update.row, records),
        )
        await update.uow.enqueue(PUBLICATION, key=str(document.id), payload=publication.model_dump(mode="json"))


class PublicationJob:
    """Renders a document, which takes about 10 ms, and publishes it once."""

    backoff = Backoff()

    def __init__(self, database: Database) -> None:
        self._database = database

    async def perform(self, job: Job) -> ReceiptIssued:
        from checkout.receipts.pdf import render  # 11 MB, which a process that issues nothing does not need

        publication = _publication(job)
        async with self._database.transaction() as db:
            document = await repository.find_document(db, publication.document_id)
        if document is None:
            raise Permanent(f"there is no document {publication.document_id}")
        content = document.content
        pdf = render(content, publication.refunds, publication.others, publication.balance)
        return ReceiptIssued(
            document_id=document.id,
            kind=document.kind,
            number=content.number,
            purchase_id=document.purchase_id,
            student_id=content.student_id,
            refs=publication.payment_refs,
            amount=content.paid,
            filename=content.filename,
            pdf=base64.b64encode(pdf).decode(),
        )

    async def record(self, job: Job, result: ReceiptIssued, uow: UnitOfWork) -> None:
        await uow.publish(result, id=f"{result.document_id}/{result.type}", subject=str(result.purchase_id))

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("document not published", document=job.key)


def _publication(job: Job) -> Publication:
    try:
        return Publication.model_validate(job.payload)
    except ValidationError as error:
        raise Permanent("the payload is not a publication") from error
