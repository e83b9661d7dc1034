"""What the treasury shows of itself on its own channel, once a second. Money is int satoshis.

Everything here is for people and pages: already decided, already named. Unknown is None.
"""

from datetime import datetime

import msgspec

from controller.channel.view import AlarmView, EventView


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """Fields unknown to an older reader are ignored, so processes may be upgraded one by one."""


class ChainView(_View, frozen=True, kw_only=True):
    """The node as the treasury sees it. `error`: why it is not usable; None while it is."""

    network: str
    height: int | None = None
    tip_hash: str | None = None
    tip_at: datetime | None = None
    tip_age_s: float | None = None
    error: str | None = None


class CollectionView(_View, frozen=True, kw_only=True):
    """Coins of the collection descriptor by the ledger: sweepable now, and not yet."""

    mature_sat: int = 0
    maturing_sat: int = 0
    coins: int = 0


class ReserveView(_View, frozen=True, kw_only=True):
    """The reserve by the ledger, and by the node's own set of unspent coins at `checked_height`."""

    ledger_sat: int = 0
    final_sat: int = 0
    chain_sat: int | None = None
    checked_height: int | None = None
    descriptor_sha256: str = ""


class SweepView(_View, frozen=True, kw_only=True):
    """One sweep, its newest attempt. `amount_sat` arrives at the reserve, beside `fee_sat`.

    `stage`: proposed, signed, broadcast, confirmed, final, blocked, stuck or abandoned.
    """

    sweep_id: str
    attempt: int
    stage: str
    inputs: int
    amount_sat: int
    fee_sat: int
    vsize: int | None
    address: str
    dest_index: int
    txid: str
    confirmations: int
    block_height: int | None = None
    created_at: datetime
    updated_at: datetime
    reason: str = ""


class PoolView(_View, frozen=True, kw_only=True):
    """One pool: what it says it earned for us and paid, and what arrived by the chain."""

    pool_id: str
    earned_sat: int | None = None
    paid_sat: int | None = None
    received_sat: int = 0
    last_paid_at: datetime | None = None
    error: str | None = None


class TreasuryImage(_View, frozen=True, kw_only=True):
    """The treasury at one moment. `sweeps`: the newest first, at most twenty."""

    treasury_id: str
    name: str
    at: datetime
    chain: ChainView
    collection: CollectionView
    reserve: ReserveView
    sweeps: list[SweepView]
    pools: list[PoolView]
    alarms: list[AlarmView]
    events: list[EventView]
