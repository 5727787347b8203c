"""docker-compose.yml and deploy/ match the services, checked without a container engine."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any

import pytest
import yaml
from tests.architecture.source import ROOT

from contracts.registry import PUBLISHED_BY
from ledger.policy import DEFAULT_POLICY, Policy

SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists())
ROLES = {"ApiSettings": "-api", "WorkerSettings": "", "RelaySettings": "-relay"}
SET_BY_THE_IMAGE = {"HTTP_HOST", "HTTP_PORT"}


@cache
def compose_services() -> dict[str, Any]:  # Any: YAML
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


def test_the_policy_file_has_the_defaults_of_the_code() -> None:
    assert Policy.load(ROOT / "deploy/policy.toml") == DEFAULT_POLICY


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_can_be_set(service: str) -> None:
    settings = importlib.import_module(f"{service.replace('-', '_')}.settings")
    for name, suffix in ROLES.items():
        if hasattr(settings, name) and f"{service}{suffix}" in compose_services():
            fields = {field.upper() for field in getattr(settings, name).model_fields}
            missing = fields - compose_services()[f"{service}{suffix}"]["environment"].keys() - SET_BY_THE_IMAGE
            assert not missing, name


@pytest.mark.parametrize("service", SERVICES)
def test_every_process_reads_the_one_policy(service: str) -> None:
    processes = {
        name: process
        for name, process in compose_services().items()
        if process.get("command", [])[:1] == [service.replace("-", "_")]
    }
    assert len(processes) >= 3
    for name, process in processes.items():
        (mounted,) = process["configs"]
        assert mounted["target"] == process["environment"]["POLICY_FILE"], name


def test_every_service_has_a_database_and_a_broker_user() -> None:
    databases = re.search(r"(?m)^for service in (.+); do$", (ROOT / "deploy/postgres/databases.sh").read_text())
    assert databases
    assert sorted(databases[1].split()) == [service.replace("-", "_") for service in SERVICES]
    users = re.search(r"(?ms)^services='\n(.*?)\n'", (ROOT / "deploy/rabbitmq/start.sh").read_text())
    assert users
    families = {name: set(words.split("|")) for name, words in (line.split() for line in users[1].splitlines())}
    assert sorted(families) == SERVICES
    for service in SERVICES:
        assert {event.type.split(".")[0] for event in PUBLISHED_BY[service]} == families[service]
