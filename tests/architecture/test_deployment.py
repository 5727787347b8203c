"""docker-compose.yml and deploy/ match the services, checked without a container engine."""

from __future__ import annotations

import importlib
import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from tests.architecture.source import ROOT

from bursar.environment import Environment
from contracts.registry import EVENT_TYPES, PUBLISHED_BY
from devstack.broker_rights import rights_of
from kit.runtime.settings import Settings
from ledger.policy import DEFAULT_POLICY, Policy

SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "migrations").exists())
"""Those with a database and queues: all but the portal."""
ROLES = {"ApiSettings": "-api", "WorkerSettings": "", "RelaySettings": "-relay", "AdminSettings": "-admin"}
SET_BY_THE_IMAGE = {"HTTP_HOST", "HTTP_PORT", "INTERNAL_HOST", "INTERNAL_PORT"}


@cache
def compose_services() -> dict[str, Any]:  # Any: YAML
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


def test_the_policy_file_has_the_defaults_of_the_code() -> None:
    assert Policy.load(ROOT / "deploy/policy.toml") == DEFAULT_POLICY


@pytest.mark.parametrize("service", [*SERVICES, "portal"])
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


@pytest.mark.parametrize("service", SERVICES)
def test_every_process_has_the_database_login_of_its_role(service: str) -> None:
    name = service.replace("-", "_")
    logins = {
        f"{process}: {setting}": re.findall(r"^postgresql://(\w+):", process_settings["environment"][setting])
        for process, process_settings in compose_services().items()
        if process_settings.get("command", [])[:1] == [name]
        for setting in ("DATABASE_URL", "STAFF_DATABASE_URL")
        if setting in process_settings["environment"]
    }
    expected = {
        f"{service}: DATABASE_URL": [name],
        f"{service}-relay: DATABASE_URL": [name],
        f"{service}-migrate: DATABASE_URL": [f"{name}_owner"],
        f"{service}-api: DATABASE_URL": [f"{name}_api"],
        f"{service}-api: STAFF_DATABASE_URL": [f"{name}_staff"],
    }
    if service == "webhook-gateway":  # it has no requests of staff, and compares its journal with Stripe
        expected["webhook-gateway-reconciler: DATABASE_URL"] = [name]
        expected["webhook-gateway-admin: DATABASE_URL"] = [name]
        del expected["webhook-gateway-api: STAFF_DATABASE_URL"]
    assert logins == expected


def test_every_service_has_a_database_and_a_broker_user() -> None:
    databases = re.search(r"(?m)^for service in (.+); do$", (ROOT / "deploy/postgres/databases.sh").read_text())
    assert databases
    assert sorted(databases[1].split()) == [service.replace("-", "_") for service in SERVICES]


@cache
def broker_definitions() -> dict[str, Any]:
    """What deploy/rabbitmq/start.sh writes before it starts the broker."""
    passwords = {
        name: "a-password"
        for name in compose_services()["rabbitmq"]["environment"]
        if name.endswith("_AMQP_PASSWORD") or name == "RABBITMQ_ADMIN_PASSWORD"
    }
    with TemporaryDirectory() as folder:
        entrypoint = Path(folder, "docker-entrypoint.sh")
        entrypoint.write_text("#!/bin/sh\n")
        entrypoint.chmod(0o755)
        written = Path(folder, "definitions.json")
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "BURSAR_DEFINITIONS": str(written), **passwords}
        script = ["bash", str(ROOT / "deploy/rabbitmq/start.sh"), "rabbitmq-server"]
        subprocess.run(script, env=environment, check=True, timeout=30)
        definitions: dict[str, Any] = json.loads(written.read_text())
    return definitions


def allowed(pattern: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if re.search(pattern, name)}


def test_the_broker_has_a_user_per_service_and_one_of_the_deployment() -> None:
    users = {user["name"]: user["tags"] for user in broker_definitions()["users"]}
    assert users == {"admin": ["administrator"], "deployment": [], **{service: [] for service in SERVICES}}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_do_at_the_broker_what_its_topology_needs(service: str) -> None:
    """In the containers as in the local stack: it declares nothing, and publishes exactly the types of the registry."""
    (deployed,) = [each for each in broker_definitions()["permissions"] if each["user"] == service]
    (topics,) = [each for each in broker_definitions()["topic_permissions"] if each["user"] == service]
    local = rights_of(service)
    queues = {
        name
        for each in SERVICES
        for queue in importlib.import_module(f"{each.replace('-', '_')}.topology").QUEUES
        for name in (queue.name, queue.dead, queue.moving)
    }
    exchanges = {"bursar.events", "amq.default", "amq.topic", "amq.direct", "amq.rabbitmq.trace", "bursarXevents"}
    exchanges |= {f"{each}.queues" for each in SERVICES} | {f"{service}.queues.x", f"x.{service}.queues"}
    own = {name for name in queues if name.startswith(f"{service}.")}
    types = {*EVENT_TYPES, *(f"{type_}.x" for type_ in EVENT_TYPES), *(f"x.{type_}" for type_ in EVENT_TYPES)}
    said = {event.type for event in PUBLISHED_BY[service]}
    for configure, write, read, publishes in (
        (deployed["configure"], deployed["write"], deployed["read"], topics["write"]),
        (local.configure, local.write, local.read, local.publishes["bursar.events"]),
    ):
        assert allowed(configure, queues | exchanges) == set()
        assert allowed(write, queues | exchanges) == {"bursar.events", f"{service}.queues"}
        assert allowed(read, queues | exchanges - {f"{service}.queues.x"}) == own
        assert allowed(publishes, types) == said
    assert topics["read"] == "^$"


def test_only_migrations_and_the_admin_api_have_the_login_of_the_deployment() -> None:
    """Decision 30."""
    having = {
        name
        for name, process in compose_services().items()
        if "amqp://deployment:" in str(process.get("environment", {}).get("AMQP_URL"))
    }
    assert having == {"webhook-gateway-admin", *(f"{service}-migrate" for service in SERVICES)}


def test_the_operators_command_has_every_setting() -> None:
    settings = {f"BURSAR_{name.upper()}" for name in Environment.model_fields}
    assert compose_services()["operator"]["environment"].keys() == settings


def test_the_operators_command_asks_every_process() -> None:
    processes = {
        name
        for name, process in compose_services().items()
        if "".join(process.get("command", [])[:1]).replace("_", "-") in [*SERVICES, "portal"]
        and process["command"][1:] != ["migrate"]
    }
    assert json.loads(compose_services()["operator"]["environment"]["BURSAR_HEALTH"]) == {
        name: f"http://{name}:8001" for name in processes
    }


def test_the_proxy_forwards_to_public_ports_of_apis_alone() -> None:
    upstreams = set(re.findall(r"reverse_proxy (\S+)", (ROOT / "deploy/caddy/Caddyfile").read_text()))
    assert upstreams == {f"{service}-api:8000" for service in [*SERVICES, "portal"]}
    assert {upstream.split(":")[0] for upstream in upstreams} <= compose_services().keys()


def test_the_address_that_the_proxy_names_is_believed() -> None:
    """Docker gives its networks private addresses. One that is not private is a client's."""
    for name, process in compose_services().items():
        if "TRUSTED_PROXIES" in process.get("environment", {}):
            default = process["environment"]["TRUSTED_PROXIES"].removeprefix("${TRUSTED_PROXIES:-").removesuffix("}")
            settings = Settings(trusted_proxies=tuple(default.split(",")))
            trusted = [ipaddress.ip_network(each) for each in settings.trusted_proxies]
            for address, is_trusted in (("172.18.0.5", True), ("192.168.48.3", True), ("203.0.113.7", False)):
                assert any(ipaddress.ip_address(address) in network for network in trusted) is is_trusted, name


def test_no_internal_port_is_published() -> None:
    published = {str(port) for process in compose_services().values() for port in process.get("ports", [])}
    assert published
    assert not [port for port in published if port.endswith(":8001")]
