"""deploy/postgres/databases.sh, on a server of its own: who connects to what, and what a run after a theft undoes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.architecture.source import ROOT
from tests.security.databases import PACKAGES

from testkit import postgres_binaries
from testkit.postgres_binaries import PostgresEngine

pytestmark = pytest.mark.server  # starts a server of its own

SUFFIXES = ("_owner", "", "_api", "_staff")


@pytest.fixture(scope="module")
def admin_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = PostgresEngine(postgres_binaries.in_wheel(), tmp_path_factory.mktemp("script") / "data", durable=False)
    engine.start()
    try:
        yield engine.admin_url
    finally:
        engine.close(keep=False)


def run(admin_url: str, *, password: str) -> None:
    """`password`: the beginning of every password."""
    server = urlsplit(admin_url)
    passwords = {f"{package}{suffix}".upper(): package + suffix for package in PACKAGES for suffix in SUFFIXES}
    env = {
        "PATH": f"{psql_folder()}:{os.environ['PATH']}",
        "PGHOST": str(server.hostname),
        "PGPORT": str(server.port),
        "PGUSER": str(server.username),
        "PGPASSWORD": server.password or "",
        **{f"{name}_DB_PASSWORD": password + login for name, login in passwords.items()},
    }
    done = subprocess.run(
        ["bash", str(ROOT / "deploy/postgres/databases.sh")], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def psql_folder() -> Path:
    return postgres_binaries.in_wheel().folder


async def reached(admin_url: str, login: str, password: str) -> list[str]:
    """The databases that this login can connect to."""
    where = urlsplit(admin_url).netloc.rpartition("@")[2]
    found = []
    for database in (*PACKAGES, "postgres", "template1"):
        try:
            connection = await asyncpg.connect(f"postgresql://{login}:{password}@{where}/{database}")
        except asyncpg.PostgresError:
            continue
        found.append(database)
        await connection.close()
    return found


async def test_every_login_reaches_its_own_database_and_a_new_password_ends_the_old_one(admin_url: str) -> None:
    await asyncio.to_thread(run, admin_url, password="first-")
    for package in PACKAGES:
        for suffix in SUFFIXES:
            login = package + suffix
            assert await reached(admin_url, login, f"first-{login}") == [package]
    where = urlsplit(admin_url).netloc.rpartition("@")[2]
    thief = await asyncpg.connect(f"postgresql://checkout_api:first-checkout_api@{where}/checkout")
    await thief.execute("ALTER ROLE checkout_api SET search_path = mine")
    await thief.execute("ALTER ROLE checkout_api IN DATABASE checkout SET default_transaction_read_only = on")
    await thief.execute("ALTER ROLE checkout_api PASSWORD 'mine'")
    await thief.close()
    await asyncio.to_thread(run, admin_url, password="second-")
    assert await reached(admin_url, "checkout_api", "mine") == []
    assert await reached(admin_url, "checkout_api", "second-checkout_api") == ["checkout"]
    admin = await asyncpg.connect(admin_url)
    try:
        assert await admin.fetch("SELECT * FROM pg_db_role_setting WHERE setrole <> 0") == []
    finally:
        await admin.close()
