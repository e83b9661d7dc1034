"""Which sweeps were final once: a reorganisation that brings one back is alarmed for longer."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From 0001."""
    op.add_column(
        "sweep", sa.Column("was_final", sa.Boolean, nullable=False, server_default=sa.text("0"))
    )
    op.execute("UPDATE sweep SET was_final = 1 WHERE stage = 'final'")
