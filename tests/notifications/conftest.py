from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.databases import migrated, opened
from tests.notifications.harness import Harness

import notifications
from kit.db.database import Database
from testkit import postgres_server as pg
from testkit.smtp import MailCatcher


@pytest.fixture(scope="session")
def notifications_database(postgres_server: pg.PostgresServer) -> pg.Database:
    return migrated(postgres_server, "notifications_tests", notifications.__file__)


@pytest.fixture(scope="session")
async def database(notifications_database: pg.Database) -> AsyncIterator[Database]:
    """With the login of the consumers and the relay."""
    async with opened(notifications_database.url) as database:
        yield database


@pytest.fixture
async def api_database(notifications_database: pg.Database) -> AsyncIterator[Database]:
    """With the logins of the API."""
    async with opened(notifications_database.api_url, staff_url=notifications_database.staff_url) as database:
        yield database


@pytest.fixture(scope="session")
def mail_catcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailCatcher]:
    with MailCatcher(tmp_path_factory.mktemp("mail")) as catcher:
        yield catcher


@pytest.fixture
def mail(mail_catcher: MailCatcher) -> MailCatcher:
    """Empty, and without faults."""
    mail_catcher.reset()
    return mail_catcher


@pytest.fixture
async def harness(database: Database, mail: MailCatcher) -> Harness:
    """Without data, and with no delays."""
    harness = Harness(database, mail)
    await harness.reset()
    return harness
