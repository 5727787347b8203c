"""Mutants that survive for a reason: (module, changed lines) -> why."""

from __future__ import annotations

from collections.abc import Mapping

EQUIVALENT: Mapping[tuple[str, str], str] = {}
