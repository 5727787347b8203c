"""The envelope: what goes out comes in, and what is none of ours is told why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import histories

from contracts.envelope import BadEnvelope, Envelope, parse
from contracts.registry import EVENT_TYPES, PUBLISHED_BY

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)


@given(facts=histories(), subject=TEXT, time=st.datetimes(timezones=st.just(UTC)), correlation=TEXT)
def test_there_and_back(facts: dict[str, object], subject: str, time: datetime, correlation: str) -> None:
    for event_id, event in facts.items():
        sent = Envelope(
            id=event_id,
            source="webhook-gateway",
            subject=subject,
            time=time,
            data=event,  # type: ignore[type-var]
            correlation_id=correlation,
        )
        assert parse(sent.headers(), sent.body(), EVENT_TYPES) == sent


def test_either_prefix_of_the_binding_is_read() -> None:
    headers = {
        "cloudEvents_id": "1",
        "cloudEvents_source": "s",
        "cloudEvents_type": "payment.expired.v1",
        "cloudEvents_subject": "p",
        "cloudEvents_time": "2026-11-21T00:00:00Z",
    }
    assert parse(headers, b'{"refs": {}}', EVENT_TYPES).time == datetime(2026, 11, 21, tzinfo=UTC)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20) | st.integers(), max_size=6), st.binary(max_size=50))
def test_anything_else_is_refused_and_not_quoted(headers: dict[str, object], body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        parse(headers, body, EVENT_TYPES)


def test_a_refusal_does_not_quote_the_data() -> None:
    headers = Envelope(
        id="1",
        source="s",
        subject="p",
        time=datetime.now(UTC),
        data=EVENT_TYPES["student.updated.v1"].model_construct(),
    ).headers()
    with pytest.raises(BadEnvelope) as refusal:
        parse(headers, b'{"student_id": "ann@example.com", "contact": 5}', EVENT_TYPES)
    assert "ann@example.com" not in str(refusal.value)
    assert "student_id: uuid_parsing" in str(refusal.value)


def test_types_are_past_tense_with_a_version_and_have_a_publisher() -> None:
    for service, events in PUBLISHED_BY.items():
        for event in events:
            thing, fact, version = event.type.rsplit(".", 2)
            assert thing and fact and version == "v1", f"{service}: {event.type}"
