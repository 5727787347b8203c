"""How a comparison is divided, and what `scale` runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bursar.operations import _command, _parts

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_a_comparison_is_divided_into_weeks_without_a_gap() -> None:
    parts = list(_parts(NOW - timedelta(days=30), None, now=NOW))
    assert len(parts) == 5
    assert [part.get("until") for part in parts[:-1]] == [part["since"] for part in parts[1:]]
    assert "until" not in parts[-1], "Stripe's clock may be ahead"


def test_a_short_comparison_is_one_part() -> None:
    until = NOW - timedelta(hours=1)
    (part,) = _parts(NOW - timedelta(hours=2), until, now=NOW)
    assert part["until"] == until.isoformat()


def test_the_command_of_a_scaling() -> None:
    assert _command("enrollment", 3, "kubernetes") == ["kubectl", "scale", "deployment/enrollment", "--replicas=3"]
    assert _command("enrollment", 0, "compose")[-2:] == ["enrollment=0", "enrollment"]
