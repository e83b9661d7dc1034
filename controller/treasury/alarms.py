"""What somebody must know of the treasury: one row a kind, how grave it is and what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.channel.view import AlarmView


class Severity(StrEnum):
    """CRITICAL: act now; WARNING: act today."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One kind of alarm."""

    severity: Severity
    meaning: str
    mend: str


class AlarmKind(StrEnum):
    """Stable names; an alarm's id is `kind` or `kind:object`."""

    FOREIGN_SPEND = "foreign_spend"
    BOOK_DIFFERS = "book_differs"
    DEEP_REORG = "deep_reorg"
    SIGNER_HOSTILE = "signer_hostile"
    POLICY_VIOLATION = "policy_violation"
    SWEEP_STUCK = "sweep_stuck"
    SWEEP_CONFLICT = "sweep_conflict"
    WRONG_CHAIN = "wrong_chain"
    OTHER_CHAIN = "other_chain"
    DATABASE_FAILED = "database_failed"
    PROGRAM_FAILED = "program_failed"
    UNKNOWN_SWEEP = "unknown_sweep"
    ROUND_LATE = "round_late"
    NODE_UNREACHABLE = "node_unreachable"
    NODE_SYNCING = "node_syncing"
    NODE_STALE = "node_stale"
    AUDIT_FAILED = "audit_failed"
    EXCHANGE_FAILED = "exchange_failed"
    SIGNER_REFUSED = "signer_refused"
    SIGNER_SLOW = "signer_slow"
    NODE_REFUSES = "node_refuses"
    FEE_TOO_LOW = "fee_too_low"
    SWEEP_SLOW = "sweep_slow"
    SWEEP_TOO_DEAR = "sweep_too_dear"
    ADDRESSES_LOW = "addresses_low"
    POOL_SILENT = "pool_silent"
    POOL_LATE = "pool_late"
    POOL_SHORT = "pool_short"
    POOL_NOT_RECEIVED = "pool_not_received"
    POOL_NOT_REPORTED = "pool_not_reported"


_CRITICAL, _WARNING = Severity.CRITICAL, Severity.WARNING

TABLE: Mapping[AlarmKind, AlarmRow] = {
    AlarmKind.FOREIGN_SPEND: AlarmRow(
        _CRITICAL,
        "a collection coin was spent by a transaction that is none of ours: somebody else has the "
        "key; no sweep is proposed any more",
        "point the pools at the reserve now, find who signed, make new collection keys; then "
        "acknowledge",
    ),
    AlarmKind.BOOK_DIFFERS: AlarmRow(
        _CRITICAL,
        "the book and the node's own set of unspent coins differ",
        "compare the coins that are named; was `treasury.from_height` too late, an address beyond "
        "`addresses` used, or the database put back from a copy?",
    ),
    AlarmKind.DEEP_REORG: AlarmRow(
        _CRITICAL,
        "the chain gave back a sweep that was final: a reorganisation deeper than six blocks",
        "wait and compare with other nodes; the sweep is sent again by itself",
    ),
    AlarmKind.SIGNER_HOSTILE: AlarmRow(
        _CRITICAL,
        "what came back from the signer is not the transaction that was given out, or not signed "
        "as it must be; it was not broadcast",
        "treat the signer's machine as taken over until proved otherwise; then `naryn treasury "
        "retry` or `abandon`",
    ),
    AlarmKind.POLICY_VIOLATION: AlarmRow(
        _CRITICAL,
        "a sweep's own transaction breaks the policy; it was not given out or broadcast",
        "read the reason; mend treasury.toml or the node (txindex=1), then `naryn treasury retry`",
    ),
    AlarmKind.SWEEP_STUCK: AlarmRow(
        _CRITICAL,
        "a coin of a sweep is not there any more: its payout was reorganised away, or somebody "
        "else spent it",
        "wait some blocks: it goes on by itself when the coin comes back; otherwise find the "
        "spender and `naryn treasury abandon`; a spender of another sweep is ours",
    ),
    AlarmKind.SWEEP_CONFLICT: AlarmRow(
        _CRITICAL,
        "the mempool holds another transaction that spends a sweep's coins, and it is not ours",
        "look it up by one of the coins; if you did not make it, the collection key is known to "
        "others",
    ),
    AlarmKind.WRONG_CHAIN: AlarmRow(
        _CRITICAL,
        "the node is on another network than the configuration says; nothing is read or sent",
        "mend `node.url` or `node.network`",
    ),
    AlarmKind.OTHER_CHAIN: AlarmRow(
        _CRITICAL,
        "the node's chain parts from the one in the book more than 100 blocks ago; nothing is "
        "reversed or sent",
        "compare with other nodes; if the node lost its data, let it synchronise",
    ),
    AlarmKind.DATABASE_FAILED: AlarmRow(
        _CRITICAL,
        "the treasury's database cannot be read or written; nothing is booked or sent",
        "free space, mend rights, look at the disk",
    ),
    AlarmKind.PROGRAM_FAILED: AlarmRow(
        _CRITICAL,
        "the treasury met something that it was not made for, and passed over the step that is "
        "named; everything else goes on, and the step is tried again",
        "report it, with the log's lines of that time",
    ),
    AlarmKind.UNKNOWN_SWEEP: AlarmRow(
        _WARNING,
        "collected coins went to the reserve and nowhere else, by sweeps that this database did "
        "not make; they are booked as sweeps",
        "expected when the database was lost or put back from a copy: acknowledge; otherwise find "
        "out who signed",
    ),
    AlarmKind.ROUND_LATE: AlarmRow(
        _WARNING,
        "the treasury's work has not come round for long; what is shown is old",
        "look at the node's load and the disk; restart the treasury",
    ),
    AlarmKind.NODE_UNREACHABLE: AlarmRow(
        _WARNING,
        "the node does not answer as it should; nothing is read or sent until it does",
        "start the node; check `node.url`, `node.cookie_file` and who may read it",
    ),
    AlarmKind.NODE_SYNCING: AlarmRow(
        _WARNING,
        "the node is still fetching the chain; nothing is read or sent until it has",
        "wait; check its network and disk",
    ),
    AlarmKind.NODE_STALE: AlarmRow(
        _WARNING,
        "the newest block is older than `node.tip_age_max_s`; no sweep is begun or sent",
        "check the node's peers, and both clocks",
    ),
    AlarmKind.AUDIT_FAILED: AlarmRow(
        _WARNING,
        "the node's own set of unspent coins could not be read, so the book is not checked",
        "raise `node.audit_timeout_s`; look at the node's load",
    ),
    AlarmKind.EXCHANGE_FAILED: AlarmRow(
        _WARNING,
        "the exchange folder with the signer cannot be used",
        "mend its rights; remove what does not belong there",
    ),
    AlarmKind.SIGNER_REFUSED: AlarmRow(
        _WARNING,
        "the signer refused a sweep and said why",
        "settle it with the signer; then `naryn treasury retry` or `abandon`",
    ),
    AlarmKind.SIGNER_SLOW: AlarmRow(
        _WARNING,
        "a sweep waits for its signature longer than `sweep.signer_patience_s`",
        "carry the file in `to-sign` to the signer, and what comes back to `signed`",
    ),
    AlarmKind.NODE_REFUSES: AlarmRow(
        _WARNING,
        "the node does not take a sweep's transaction, for a reason that may pass",
        "read the reason; it is sent again with every block",
    ),
    AlarmKind.FEE_TOO_LOW: AlarmRow(
        _WARNING,
        "the mempool asks for more than the sweep pays",
        "wait, or raise `sweep.feerate_sat_kvb` and restart: a new attempt is made",
    ),
    AlarmKind.SWEEP_SLOW: AlarmRow(
        _WARNING,
        "a sweep is not confirmed although `sweep.bump_after_s` is over",
        "wait, or raise `sweep.feerate_sat_kvb` and restart: a new attempt is made",
    ),
    AlarmKind.SWEEP_TOO_DEAR: AlarmRow(
        _WARNING,
        "enough is due to be swept, but at the rate that is set it would cost more than is allowed",
        "lower `sweep.feerate_sat_kvb`, or allow more with `max_fee_sat` or `max_fee_percent`; "
        "restart",
    ),
    AlarmKind.ADDRESSES_LOW: AlarmRow(
        _WARNING,
        "a wallet is near the end of its watched addresses",
        "raise `addresses` of that wallet and restart, before the last one is used",
    ),
    AlarmKind.POOL_SILENT: AlarmRow(
        _WARNING,
        "the pool's interface does not answer as it should; what it owes is not known",
        "check `pool.url`; ask the pool",
    ),
    AlarmKind.POOL_LATE: AlarmRow(
        _WARNING,
        "the pool owes since longer than agreed",
        "ask the pool; point the miners at another one",
    ),
    AlarmKind.POOL_SHORT: AlarmRow(
        _WARNING,
        "a payout was smaller on the chain than the pool says",
        "ask the pool, with the transaction's id",
    ),
    AlarmKind.POOL_NOT_RECEIVED: AlarmRow(
        _CRITICAL,
        "the pool says that it paid, and nothing arrived at our addresses",
        "look up the transaction; compare the payout address at the pool with ours",
    ),
    AlarmKind.POOL_NOT_REPORTED: AlarmRow(
        _WARNING,
        "money arrived at the pool's address of which the pool says nothing",
        "ask the pool; was the address given to somebody else too?",
    ),
}


KEEPS_FROM_WORK = frozenset(
    {
        AlarmKind.WRONG_CHAIN,
        AlarmKind.OTHER_CHAIN,
        AlarmKind.DATABASE_FAILED,
        AlarmKind.ROUND_LATE,
        AlarmKind.NODE_UNREACHABLE,
        AlarmKind.NODE_SYNCING,
    }
)
"""While one of these stands, the treasury does not do its work, and `/readyz` says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that stands now. `about`: the sweep, pool or wallet; empty for the treasury."""

    kind: AlarmKind
    detail: str
    about: str = ""

    @property
    def alarm_id(self) -> str:
        """Its stable name."""
        return f"{self.kind}:{self.about}" if self.about else str(self.kind)


def fault_of(error: Exception) -> str:
    """An exception that nobody expected, as one printable line for PROGRAM_FAILED."""
    said = "".join(c if c.isprintable() else "?" for c in str(error)[:200])
    return f"{type(error).__name__}: {said}"


class Standing:
    """Remembers since when each alarm stands."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}

    def view(self, alarms: Iterable[Alarm], now: datetime) -> list[AlarmView]:
        """This round's alarms for people, the critical ones first; ended ones are forgotten."""
        found = {alarm.alarm_id: alarm for alarm in alarms}
        self._since = {name: self._since.get(name, now) for name in found}
        views = [
            AlarmView(
                alarm_id=name,
                severity=TABLE[alarm.kind].severity,
                since_at=self._since[name],
                detail=alarm.detail,
                meaning=TABLE[alarm.kind].meaning,
                mend=TABLE[alarm.kind].mend,
            )
            for name, alarm in found.items()
        ]
        return sorted(views, key=lambda view: (view.severity, view.since_at, view.alarm_id))
