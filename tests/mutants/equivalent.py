"""Mutants that survive for a reason: (module, changed lines) -> why."""

from __future__ import annotations

from collections.abc import Mapping

EQUIVALENT: Mapping[tuple[str, str], str] = {
    (
        "shared/ledger/src/ledger/policy.py",
        "-        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]\n"
        "+        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[: 11]",
    ): "a shorter hash names the policy as well",
}
