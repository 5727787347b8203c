"""Whether every process is ready, what it depends on answers, and no alert of docs/runbooks/alerts.md holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SECONDS = 10.0
OK = "ok"


@dataclass(frozen=True)
class Finding:
    """What is said of one thing of one process. `outcome`: "ok", or what is wrong."""

    process: str
    subject: str
    outcome: str
    remedy: str = ""

    @property
    def is_ok(self) -> bool:
        return self.outcome == OK


@dataclass(frozen=True)
class Rule:
    """An alert: it holds for a sample of the metric that `applies`. `outcome` and `remedy` name its labels."""

    metric: str
    applies: Callable[[Sample], bool]
    outcome: str
    remedy: str


def _label(name: str, suffix: str) -> Callable[[Sample], bool]:
    return lambda sample: sample.labels.get(name, "").endswith(suffix) and sample.value > 0


_DAY = 24 * 3600
_COMPARED_WITHIN = {"events": 15 * 60}

RULES = (
    Rule("bursar_queue_messages", _label("queue", ".dead"), "{value:.0f} in {queue}", "docs/runbooks/dead-letters.md"),
    Rule(
        "bursar_queue_messages",
        _label("queue", ".spill"),
        "{value:.0f} webhooks wait in {queue}",
        "is the gateway's database available, and its relay running?",
    ),
    Rule("bursar_job_rows", _label("state", "failed"), "{value:.0f} jobs have failed", "docs/runbooks/alerts.md"),
    Rule(
        "bursar_oldest_due_seconds",
        lambda sample: sample.value > 60,
        "the oldest row of the {table} has been due for {value:.0f} s",
        "the relay's log says why",
    ),
    Rule(
        "bursar_stripe_endpoint_problem",
        lambda sample: sample.value > 0,
        "the webhook endpoint at Stripe: {problem}",
        "docs/runbooks/reconcile.md",
    ),
    Rule(
        "bursar_stripe_comparison_age_seconds",
        lambda sample: sample.value > _COMPARED_WITHIN.get(sample.labels.get("of", ""), _DAY),
        "the {of} at Stripe were not compared for {value:.0f} s",
        "is the gateway's reconciler running? docs/runbooks/reconcile.md",
    ),
    Rule(
        "bursar_stripe_differences",
        lambda sample: sample.value > 0,
        "{value:.0f} fields of a {object_kind} at Stripe differ from what was published",
        "docs/runbooks/reconcile.md",
    ),
    Rule(
        "bursar_erasures_overdue",
        lambda sample: sample.value > 0,
        "{value:.0f} erasures are overdue",
        "docs/runbooks/erasure.md",
    ),
)


def examine(processes: Mapping[str, str]) -> list[Finding]:
    """`processes`: name -> base URL. All are asked at the same time."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = pool.map(lambda item: list(_examine(*item)), processes.items())
        return [finding for findings in found for finding in findings]


def _examine(process: str, url: str) -> Iterator[Finding]:
    with httpx.Client(base_url=url, timeout=SECONDS) as http:
        try:
            ready = http.get("/readyz")
        except httpx.HTTPError as error:
            yield Finding(process, "process", f"does not answer: {type(error).__name__}", "is it running?")
            return
        if ready.status_code == 404:  # a sandbox
            yield Finding(process, "process", OK if http.get("/healthz").is_success else "is not alive")
            return
        yield from _readiness(process, ready)
        yield from alerts(process, http.get("/metrics").text)


def _readiness(process: str, response: httpx.Response) -> Iterator[Finding]:
    try:
        body = response.json()
        said = {**body["checks"], **body.get("dependencies", {})}
    except (ValueError, KeyError, TypeError):
        yield Finding(process, "process", f"no answer of ours at /readyz (HTTP {response.status_code})")
        return
    for subject, outcome in said.items():
        yield Finding(process, str(subject), str(outcome), "" if outcome == OK else "the process's log")


def alerts(process: str, metrics: str) -> Iterator[Finding]:
    """`metrics`: the text of /metrics."""
    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    for rule in RULES:
        for sample in samples:
            if sample.name == rule.metric and rule.applies(sample):
                labels = {**sample.labels, "value": sample.value}
                yield Finding(process, rule.metric, rule.outcome.format(**labels), rule.remedy)
