"""The tables of `treasury.db` as they are now. How they came to be: migrations/versions."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class Instant(TypeDecorator[datetime]):
    """Aware UTC as text of fixed width, so that text sorts as time."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """To the database; refuses what has no offset."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no offset; the treasury keeps UTC")
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


METADATA = MetaData()

META = Table(
    "meta",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

BLOCK = Table(
    "block",
    METADATA,
    Column("height", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("at", Instant, nullable=False),
)
"""Every block that was read, from `from_height` on; the highest is where we stand."""

COIN = Table(
    "coin",
    METADATA,
    Column("txid", Text, primary_key=True),
    Column("vout", Integer, primary_key=True),
    Column("wallet", Text, nullable=False),
    Column("branch", Integer, nullable=False),
    Column("idx", Integer, nullable=False),
    Column("script", LargeBinary, nullable=False),
    Column("sat", BigInteger, nullable=False),
    Column("coinbase", Boolean, nullable=False),
    Column("height", Integer, nullable=False),
    Column("block_hash", Text, nullable=False),
    Column("spent_by", Text),
    Column("spent_height", Integer),
    Index("coin_unspent", "spent_by"),
)
"""Coins of ours on the active chain, the spent ones too."""

ENTRY = Table(
    "entry",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("txid", Text, nullable=False),
    Column("block_hash", Text, nullable=False),
    Column("height", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("is_reversal", Boolean, nullable=False),
    UniqueConstraint("txid", "block_hash", "turn", "is_reversal"),
    Index("entry_by_block", "block_hash"),
    sqlite_autoincrement=True,
)
"""Append-only. `turn` counts how often the block came back."""

POSTING = Table(
    "posting",
    METADATA,
    Column("entry", Integer, ForeignKey("entry.seq"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("account", Text, nullable=False),
    Column("amount_sat", BigInteger, nullable=False),
    Column("txid", Text),
    Column("vout", Integer),
)

SWEEP = Table(
    "sweep",
    METADATA,
    Column("sweep_id", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("dest_index", Integer, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("was_final", Boolean, nullable=False, server_default="0"),
)

SWEEP_INPUT = Table(
    "sweep_input",
    METADATA,
    Column("sweep_id", Text, ForeignKey("sweep.sweep_id"), primary_key=True),
    Column("txid", Text, primary_key=True),
    Column("vout", Integer, primary_key=True),
    Column("sat", BigInteger, nullable=False),
    Column("script", LargeBinary, nullable=False),
    Column("is_held", Boolean, nullable=False),
    Index("sweep_input_held", "txid", "vout", unique=True, sqlite_where=text("is_held")),
)
"""The coins of each sweep. A coin is held by one sweep at a time: the database sees to it."""

ATTEMPT = Table(
    "attempt",
    METADATA,
    Column("sweep_id", Text, ForeignKey("sweep.sweep_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("txid", Text, nullable=False),
    Column("amount_sat", BigInteger, nullable=False),
    Column("fee_sat", BigInteger, nullable=False),
    Column("vsize", Integer, nullable=False),
    Column("psbt", Text, nullable=False),
    Column("raw", LargeBinary),
    Column("is_spoiled", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("attempt_by_txid", "txid"),
)
"""`is_spoiled`: refused or answered badly; only a new attempt is given out again."""

ADDRESS = Table(
    "address",
    METADATA,
    Column("wallet", Text, primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("at", Instant, nullable=False),
    UniqueConstraint("wallet", "purpose"),
)
"""Receiving addresses that were given to a purpose: a pool, or a sweep as its destination."""

EVENT = Table(
    "event",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    sqlite_autoincrement=True,
)

EARNING = Table(
    "earning",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("sat", BigInteger, nullable=False),
)

PAYOUT = Table(
    "payout",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("sat", BigInteger, nullable=False),
    Column("txid", Text),
)
