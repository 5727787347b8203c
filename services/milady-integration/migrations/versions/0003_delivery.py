"""What is due stands in narrow tables, and messages and inbox are partitioned by month."""

from kit.db import ddl, delivery_ddl

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    delivery_ddl.create_v2(api_login=ddl.api_login())
