"""The first form: blocks, coins, the book, sweeps, addresses, pools, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From nothing."""
    _chain()
    _book()
    _sweeps()
    _rest()


def _chain() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "block",
        sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("at", sa.Text, nullable=False),
    )
    op.create_table(
        "coin",
        sa.Column("txid", sa.Text, primary_key=True),
        sa.Column("vout", sa.Integer, primary_key=True),
        sa.Column("wallet", sa.Text, nullable=False),
        sa.Column("branch", sa.Integer, nullable=False),
        sa.Column("idx", sa.Integer, nullable=False),
        sa.Column("script", sa.LargeBinary, nullable=False),
        sa.Column("sat", sa.BigInteger, nullable=False),
        sa.Column("coinbase", sa.Boolean, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("block_hash", sa.Text, nullable=False),
        sa.Column("spent_by", sa.Text),
        sa.Column("spent_height", sa.Integer),
    )
    op.create_index("coin_unspent", "coin", ["spent_by"])


def _book() -> None:
    op.create_table(
        "entry",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("txid", sa.Text, nullable=False),
        sa.Column("block_hash", sa.Text, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("is_reversal", sa.Boolean, nullable=False),
        sa.UniqueConstraint("txid", "block_hash", "turn", "is_reversal"),
        sqlite_autoincrement=True,
    )
    op.create_index("entry_by_block", "entry", ["block_hash"])
    op.create_table(
        "posting",
        sa.Column("entry", sa.Integer, sa.ForeignKey("entry.seq"), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("amount_sat", sa.BigInteger, nullable=False),
        sa.Column("txid", sa.Text),
        sa.Column("vout", sa.Integer),
    )


def _sweeps() -> None:
    op.create_table(
        "sweep",
        sa.Column("sweep_id", sa.Text, primary_key=True),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("dest_index", sa.Integer, nullable=False, unique=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
    )
    op.create_table(
        "sweep_input",
        sa.Column("sweep_id", sa.Text, sa.ForeignKey("sweep.sweep_id"), primary_key=True),
        sa.Column("txid", sa.Text, primary_key=True),
        sa.Column("vout", sa.Integer, primary_key=True),
        sa.Column("sat", sa.BigInteger, nullable=False),
        sa.Column("script", sa.LargeBinary, nullable=False),
        sa.Column("is_held", sa.Boolean, nullable=False),
    )
    op.create_index(
        "sweep_input_held",
        "sweep_input",
        ["txid", "vout"],
        unique=True,
        sqlite_where=sa.text("is_held"),
    )
    op.create_table(
        "attempt",
        sa.Column("sweep_id", sa.Text, sa.ForeignKey("sweep.sweep_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("txid", sa.Text, nullable=False),
        sa.Column("amount_sat", sa.BigInteger, nullable=False),
        sa.Column("fee_sat", sa.BigInteger, nullable=False),
        sa.Column("vsize", sa.Integer, nullable=False),
        sa.Column("psbt", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("is_spoiled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_index("attempt_by_txid", "attempt", ["txid"])


def _rest() -> None:
    op.create_table(
        "address",
        sa.Column("wallet", sa.Text, primary_key=True),
        sa.Column("idx", sa.Integer, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.UniqueConstraint("wallet", "purpose"),
    )
    op.create_table(
        "event",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "earning",
        sa.Column("pool", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("sat", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "payout",
        sa.Column("pool", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("sat", sa.BigInteger, nullable=False),
        sa.Column("txid", sa.Text),
    )
