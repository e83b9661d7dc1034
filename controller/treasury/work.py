"""The treasury's work, round by round: look at the node, read the chain, move the sweeps, show.

A round blocks its thread and never raises for what the node, the signer, a pool or the disk does:
that stands as an alarm in the image, and the next round tries again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from controller.channel.treasury import PoolView, TreasuryImage
from controller.clock import SiteClock
from controller.money.ledger import EntryKind, LedgerError
from controller.treasury import book, sweep_book
from controller.treasury.alarms import Alarm, AlarmKind, Standing, fault_of
from controller.treasury.audit import Audit
from controller.treasury.chain import ChainError
from controller.treasury.database import Database, DatabaseError
from controller.treasury.descriptors import WatchedWallet
from controller.treasury.follower import Follower, OtherChain
from controller.treasury.image import Painter
from controller.treasury.node import NodeState
from controller.treasury.pools.desk import PoolDesk
from controller.treasury.sweeper import Sweeper, standing

ADDRESSES_LEFT_MIN = 20
_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Parts:
    """What the work is made of. `sweeper` None: watch and book only."""

    look: Callable[[], NodeState]
    database: Database
    follower: Follower
    sweeper: Sweeper | None
    audit: Audit
    pools: Sequence[PoolDesk]
    wallets: tuple[WatchedWallet, ...]
    painter: Painter
    clock: SiteClock


@dataclass(slots=True)
class Work:
    """The rounds of one treasury. `image`: what the last one saw; None before the first."""

    parts: Parts
    image: TreasuryImage | None = None
    done_s: float | None = None
    """Monotonic instant of the last round's end."""
    stands_at: str | None = None
    """The node's tip, when the book stands at it."""
    _has_more: bool = False
    _seen: list[Alarm] = field(default_factory=list)
    """By the sweeps' last step: they stand until the next one, which may be long in coming."""
    _drawn: list[Alarm] = field(default_factory=list)
    """Of the last image that could be drawn, but for the node's."""
    _stored: Standing = field(default_factory=Standing)
    _said: set[str] = field(default_factory=set)

    @property
    def has_more(self) -> bool:
        """Whether the last round left blocks unread that the node has already."""
        return self._has_more

    def round(self) -> None:
        """One round."""
        node: NodeState | None = None
        try:
            node = self.parts.look()
            self.image = self._draw(node, [*self._act(node), *self._seen])
        except (DatabaseError, LedgerError) as error:
            self._show_failure(node, AlarmKind.DATABASE_FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, people must see it, and go on
            _log.exception("round_failed")
            self._show_failure(node, AlarmKind.PROGRAM_FAILED, fault_of(error))
        self._log_news()
        self.done_s = self.parts.clock.monotonic_s()

    def _act(self, node: NodeState) -> Iterator[Alarm]:
        self._has_more = False
        if not node.may_read:
            return
        try:
            self._has_more = not self.parts.follower.follow()
            if self._has_more:
                return
            with self.parts.database.transaction() as db:
                at = book.cursor(db)
            if at is None:
                return
            self.stands_at = at.hash
            if node.may_send and self.parts.sweeper is not None:
                self._step(self.parts.sweeper, at.height)
        except OtherChain as error:
            yield Alarm(kind=AlarmKind.OTHER_CHAIN, detail=str(error))
        except ChainError as error:
            yield Alarm(kind=AlarmKind.NODE_UNREACHABLE, detail=str(error))
        except (DatabaseError, LedgerError):
            raise
        except Exception as error:  # noqa: BLE001 - the book and what stands in it are shown still
            _log.exception("work_failed")
            yield Alarm(kind=AlarmKind.PROGRAM_FAILED, detail=fault_of(error))

    def _step(self, sweeper: Sweeper, height: int) -> None:
        seen: dict[str, Alarm] = {}
        try:
            for alarm in sweeper.step(height):
                seen[alarm.alarm_id] = alarm
        except BaseException:
            seen = {alarm.alarm_id: alarm for alarm in self._seen} | seen
            raise
        finally:
            self._seen = list(seen.values())

    def _draw(self, node: NodeState, alarms: list[Alarm]) -> TreasuryImage:
        with self.parts.database.transaction() as db:
            pools: list[PoolView] = []
            for desk in self.parts.pools:
                view, found = desk.view(db)
                pools.append(view)
                alarms += found
            for _, entry in book.unacknowledged(db):
                detail = f"transaction {entry.txid} in block {entry.height}"
                alarms.append(Alarm(kind=AlarmKind.FOREIGN_SPEND, detail=detail, about=entry.txid))
            if unknown := book.unacknowledged(db, EntryKind.SWEEP):
                _, last = unknown[-1]
                detail = f"{len(unknown)}, the last one {last.txid} in block {last.height}"
                alarms.append(Alarm(kind=AlarmKind.UNKNOWN_SWEEP, detail=detail))
            for watched in self.parts.wallets:
                left = watched.addresses - sweep_book.next_index(db, watched.wallet)
                if watched.is_ranged and left < ADDRESSES_LEFT_MIN:
                    detail = f"{watched.wallet}: {max(0, left)} of {watched.addresses} are left"
                    alarms.append(
                        Alarm(kind=AlarmKind.ADDRESSES_LOW, detail=detail, about=watched.wallet)
                    )
            for sweep in sweep_book.watched(db):
                alarms += standing(sweep)
            alarms += self.parts.audit.alarms
            finding = self.parts.audit.finding
            now = self.parts.clock.utc()
            self._drawn = alarms
            alarms = [*node.alarms, *alarms]
            return self.parts.painter.draw(db, node, finding, pools, alarms, now)

    def _show_failure(self, node: NodeState | None, kind: AlarmKind, detail: str) -> None:
        """The last image that could be drawn, with the alarm that none can be drawn now."""
        _log.error(str(kind), error=detail)
        if self.image is None:
            return
        now = self.parts.clock.utc()
        failure = Alarm(kind=kind, detail=detail)
        alarms = [*(node.alarms if node else ()), *self._drawn, failure]
        self.image = msgspec.structs.replace(
            self.image,
            at=now,
            chain=node.view if node else self.image.chain,
            alarms=self._stored.view(alarms, now),
        )

    def _log_news(self) -> None:
        if self.image is None:
            return
        standing = {alarm.alarm_id: alarm for alarm in self.image.alarms}
        for name in standing.keys() - self._said:
            _log.warning("alarm", alarm=name, detail=standing[name].detail)
        for name in self._said - standing.keys():
            _log.info("alarm_ended", alarm=name)
        self._said = set(standing)
