"""How mails are sent, and which settings of the mail server are valid."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from tests.notifications.harness import settings_of

from notifications.delivery_errors import Unreachable
from notifications.mailer import Mailer
from testkit.processes import free_ports
from testkit.smtp import Fault, MailCatcher


async def deliver(mailer: Mailer) -> None:
    async def hand_over() -> None: ...

    mail = b"Subject: x\r\n\r\n.dot\r\n"
    await mailer.send(mail, sender="a@x.example.com", recipients=["b@x.example.com"], hand_over=hand_over)


@pytest.mark.parametrize("more", [{"smtp_tls": "starttls"}, {"smtp_username": "u", "smtp_password": "p"}])
async def test_nothing_is_sent_unencrypted_where_encryption_is_required(
    mail: MailCatcher, more: dict[str, Any]
) -> None:
    with pytest.raises(Unreachable):
        await deliver(Mailer(settings_of(mail, **more)))
    assert mail.files() == []


async def test_the_check_connects_and_sends_nothing(mail: MailCatcher) -> None:
    await Mailer(settings_of(mail)).check()
    assert mail.files() == []
    for wrong in ({"smtp_tls": "starttls"}, {"smtp_port": free_ports(1)[0]}):
        with pytest.raises(Unreachable):
            await Mailer(settings_of(mail, **wrong)).check()


async def test_one_of_several_recipients_is_enough(mail: MailCatcher) -> None:
    async def hand_over() -> None: ...

    mail.order(Fault.REJECT)
    to = ["gone@x.example.com", "here@x.example.com"]
    mailer = Mailer(settings_of(mail))
    await mailer.send(b"Subject: x\r\n\r\nx\r\n", sender="a@x.example.com", recipients=to, hand_over=hand_over)
    assert [found["X-Envelope-To"] for found in mail.messages()] == ["here@x.example.com"]


class _StoringHandler:
    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope.original_content)
        return "250 OK"


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_servers_certificate_is_checked(
    tmp_path: Path, mail: MailCatcher, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handler = _StoringHandler()
    controller = Controller(handler, hostname="127.0.0.1", port=free_ports(1)[0], tls_context=context)
    controller.start()
    try:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        settings = settings_of(mail, smtp_host="localhost", smtp_port=controller.port, smtp_tls="starttls")
        if trusted:
            await deliver(Mailer(settings))
        else:
            with pytest.raises(Unreachable):
                await deliver(Mailer(settings))
    finally:
        controller.stop()
    assert len(handler.mails) == (1 if trusted else 0)


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def test_settings_have_safe_defaults(mail: MailCatcher) -> None:
    assert settings_of(mail).tls == "none", "same machine"
    assert settings_of(mail, smtp_host="smtp.example.com").tls == "starttls"
    assert settings_of(mail, smtp_host="mail", smtp_tls="none").tls == "none"
    assert settings_of(mail, admin_webhook_url="").rules.alert_channels == ("email",)
    for wrong in ({"mail_from": "nobody"}, {"smtp_username": "u"}, {"smtp_tls": "maybe"}):
        with pytest.raises(ValidationError):
            settings_of(mail, **wrong)
