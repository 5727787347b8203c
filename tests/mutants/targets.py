"""What is mutated, and the tests that have to notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_GATEWAY = "services/webhook-gateway/src/webhook_gateway"
_MESSAGING = "shared/kit/src/kit/messaging"
_LEDGER = "shared/ledger/src/ledger"

TARGETS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "signature": ((f"{_GATEWAY}/signature.py",), ("tests/webhook_gateway/test_signature.py",)),
    "inbox": ((f"{_MESSAGING}/batches.py",), ("tests/kit/test_batches.py", "tests/kit/test_subscribers.py")),
    "outbox": ((f"{_MESSAGING}/outbox.py",), ("tests/kit/test_mandatory.py", "tests/kit/test_relay.py")),
    "relay": ((f"{_MESSAGING}/relay.py",), ("tests/kit/test_relay.py", "tests/kit/test_mandatory.py")),
    "publishers": (
        (f"{_MESSAGING}/publishers.py",),
        ("tests/kit/test_publishers.py", "tests/webhook_gateway/test_spill.py"),
    ),
    "journal relay": (
        (f"{_GATEWAY}/relay.py", f"{_GATEWAY}/due.py"),
        (
            "tests/webhook_gateway/test_journal_relay.py",
            "tests/webhook_gateway/test_replays.py",
            "tests/webhook_gateway/test_erasures.py",
            "tests/webhook_gateway/test_journal_tables.py",
        ),
    ),
    "dead letters": (
        (f"{_MESSAGING}/dead_letter.py", f"{_MESSAGING}/dead_letters.py"),
        (
            "tests/kit/test_broker_dead_letters.py",
            "tests/kit/test_operator_audit.py",
            "tests/kit/test_dead_letters.py",
            "tests/kit/test_publishers.py",
        ),
    ),
    "republish": ((f"{_MESSAGING}/republish.py",), ("tests/kit/test_republish.py",)),
    "replay": (
        (f"{_GATEWAY}/replay.py",),
        ("tests/webhook_gateway/test_replays.py", "tests/webhook_gateway/test_journal_relay.py"),
    ),
    "ledger": (
        (f"{_LEDGER}/standing.py", f"{_LEDGER}/verdict.py", f"{_LEDGER}/policy.py", f"{_LEDGER}/loss.py"),
        ("tests/ledger",),
    ),
    "payments": ((f"{_LEDGER}/payment.py", f"{_LEDGER}/purchase.py"), ("tests/ledger",)),
    "guard": (
        ("services/checkout/src/checkout/installments/guard.py",),
        ("tests/checkout/test_installment_guard.py",),
    ),
    "start guard": (
        ("shared/kit/src/kit/runtime/production.py",),
        ("tests/security/test_production_settings.py",),
    ),
}
