"""Settings, read from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parseaddr
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from kit.runtime import service
from kit.runtime.settings import CommaSeparated
from ledger.policy import PolicySettings
from notifications.domain import Rules
from notifications.links import DEFAULT_HOSTS, host_of
from notifications.message import Channel

ApiSettings = service.ApiSettings


class WorkerSettings(PolicySettings, service.WorkerSettings):
    """Consumers, relay and migrate: the policy, how long messages wait for related events, and where alerts go."""

    receipt_settle_seconds: float = Field(default=2, ge=0)
    receipt_document_seconds: float = Field(default=60, ge=0)
    failure_settle_seconds: float = Field(default=60, ge=0)
    refund_grace_seconds: float = Field(default=60, ge=0)
    welcome_grace_seconds: float = Field(default=20, ge=0)
    no_contact_alert_seconds: float = Field(default=900, ge=0)
    admin_emails: CommaSeparated = ()
    link_hosts: CommaSeparated = ()
    """Hosts that mails may link to, besides Stripe's and Milady's. Web addresses count as their host; with a leading
    dot, all subdomains of a domain."""
    admin_webhook_url: SecretStr | None = None

    @field_validator("admin_webhook_url", mode="before")
    @classmethod
    def _empty_to_none(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def rules(self) -> Rules:
        channels: list[Channel] = []
        if self.admin_emails:
            channels.append("email")
        if self.admin_webhook_url:
            channels.append("webhook")
        return Rules(
            policy=self.policy,
            receipt_settle=timedelta(seconds=self.receipt_settle_seconds),
            receipt_document=timedelta(seconds=self.receipt_document_seconds),
            failure_settle=timedelta(seconds=self.failure_settle_seconds),
            refund_grace=timedelta(seconds=self.refund_grace_seconds),
            welcome_grace=timedelta(seconds=self.welcome_grace_seconds),
            no_contact=timedelta(seconds=self.no_contact_alert_seconds),
            alert_channels=tuple(channels),
            link_hosts=frozenset({*DEFAULT_HOSTS, *map(host_of, self.link_hosts)}),
        )


class RelaySettings(WorkerSettings):
    """The relay sends mails: also the mail server, the sender and the pages that mails link to."""

    smtp_host: str
    smtp_port: int = 587
    smtp_tls: Literal["none", "starttls", "tls"] | None = None
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_timeout_seconds: float = Field(default=10, gt=0, le=20)
    mail_from: str
    support_email: str | None = None
    seller_name: str = Field(default="The school", max_length=200)
    """Checkout issues receipts under the same name."""
    portal_url: str
    keep_documents_days: int = Field(default=180, ge=30)
    """Receipts and invoices are kept here only to be attached to mails."""

    @field_validator("smtp_tls", "smtp_username", "smtp_password", "support_email", mode="before")
    @classmethod
    def _empty_to_unset(cls, value: object) -> object:
        return None if value == "" else value

    def refused_in_production(self) -> Iterator[str]:
        yield from super().refused_in_production()
        if self.smtp_password is not None and self.tls == "none":
            yield "SMTP_TLS=none sends SMTP_PASSWORD in plain text"

    @model_validator(mode="after")
    def _check_consistency(self) -> RelaySettings:
        if "@" not in self.sender:
            raise ValueError("MAIL_FROM must be an address or `Name <address>`")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError("SMTP_USERNAME and SMTP_PASSWORD must be set together")
        return self

    @property
    def tls(self) -> Literal["none", "starttls", "tls"]:
        """SMTP_TLS; by default STARTTLS, or none for a server on the same machine."""
        return self.smtp_tls or ("none" if _is_loopback(self.smtp_host) else "starttls")

    @property
    def sender(self) -> str:
        return parseaddr(self.mail_from)[1]

    @field_validator("seller_name", mode="before")
    @classmethod
    def _default_seller(cls, value: object) -> object:
        return value or "The school"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
