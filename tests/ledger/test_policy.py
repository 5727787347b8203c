"""The policy file: one for all services, and a clear error at start when it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ledger.policy import DEFAULT_POLICY, Policy, PolicySettings

DEPLOYED = Path(__file__).parents[2] / "deploy" / "policy.toml"


def test_the_deployed_file_is_the_default() -> None:
    settings = PolicySettings(policy_file=DEPLOYED)
    assert settings.policy == PolicySettings().policy == DEFAULT_POLICY
    assert settings.reported == {"policy": DEFAULT_POLICY.hash}


def test_another_policy_has_another_hash(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("past_due_pauses = false")
    policy = PolicySettings(policy_file=file).policy
    assert policy == Policy(past_due_pauses=False)
    assert policy.hash != DEFAULT_POLICY.hash


@pytest.mark.parametrize(
    "text",
    [None, "past_due_pauses", "past_due_pauses = 7", "past_due_pause = false"],
    ids=["missing", "not TOML", "not a boolean", "unknown key"],
)
def test_a_file_that_cannot_be_used_is_an_invalid_setting(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "policy.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValidationError, match="POLICY_FILE cannot be read"):
        PolicySettings(policy_file=file)
