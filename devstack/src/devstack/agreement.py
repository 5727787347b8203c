"""Services that decide by different policies would contradict each other, so the stack is not ready with two."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from testkit.processes import NotReady, Process


def require_one_policy(processes: Mapping[str, Process]) -> None:
    """Compares the policy hashes that /readyz reports. Raises NotReady when two services differ."""
    reported: dict[str, str] = {}
    with httpx.Client(verify=False, timeout=5) as client:  # noqa: S501  plain HTTP on this machine
        for name, process in processes.items():
            if process.command.ready_url is not None:
                policy = client.get(process.command.ready_url).json().get("policy")
                if policy is not None:
                    reported[name] = policy
    if len(set(reported.values())) > 1:
        listed = ", ".join(f"{name} {policy}" for name, policy in sorted(reported.items()))
        raise NotReady(f"the services read different policies ({listed}): give all of them the same POLICY_FILE")
