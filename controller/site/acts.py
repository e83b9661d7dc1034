"""What people ask of the running site over the channel: checked here, done by the next tick.

An act is answered only after the tick that took it in has journaled it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import assert_never

import msgspec

from controller.channel.frames import RequestRefused
from controller.channel.view import (
    Act,
    Answer,
    Arm,
    CapNode,
    Disarm,
    Done,
    ListMiners,
    Tag,
    UncapNode,
    Untag,
)
from controller.power import instructions as said
from controller.power.instructions import Instruction
from controller.power.site import NodeKind, Site
from controller.site.picture import MINER_STATES, Pages

_WAITING_MAX = 256
_TEXT_MAX = 200


class ActDesk:
    """Turns requests into instructions for the next tick and answers them when they are
    journaled.
    """

    def __init__(self, site: Site, pages: Pages, guarded: Callable[[], bool]) -> None:
        """`guarded`: whether a second process watches over this one now."""
        self._site = site
        self._guarded = guarded
        self._pages = pages
        self._waiting: list[tuple[Instruction, asyncio.Future[None] | None]] = []
        self._taken: list[asyncio.Future[None]] = []

    def put(self, instruction: Instruction) -> None:
        """Hand in an instruction of the program's own; nobody waits for it."""
        self._waiting.append((instruction, None))

    def take(self) -> list[Instruction]:
        """What was asked since the last tick."""
        waiting, self._waiting = self._waiting, []
        self._taken += [future for _, future in waiting if future is not None]
        return [instruction for instruction, _ in waiting]

    def journaled(self) -> None:
        """The tick that took these in is durable: tell those who wait."""
        taken, self._taken = self._taken, []
        for future in taken:
            if not future.done():
                future.set_result(None)

    def failed(self, detail: str) -> None:
        """The tick could not be journaled: nothing of it counts."""
        taken, self._taken = self._taken, []
        for future in taken:
            if not future.done():
                future.set_exception(RequestRefused(detail))

    async def answer(self, body: bytes) -> bytes:
        """Answer one request of the channel. Raises RequestRefused with a sentence for people."""
        try:
            act = msgspec.msgpack.decode(body, type=Act)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestRefused(f"not a known request: {error}") from None
        return msgspec.msgpack.encode(await self._do(act))

    async def _do(self, act: Act) -> Answer:
        if isinstance(act, ListMiners):
            if act.state is not None and act.state not in MINER_STATES:
                known = ", ".join(MINER_STATES)
                raise RequestRefused(f"no state {act.state[:40]!r}; states are {known}")
            return self._pages.miners(act)
        instruction, detail = self._instruction(act)
        if len(self._waiting) >= _WAITING_MAX:
            raise RequestRefused("too many requests wait for the next tick; try again")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((instruction, future))
        await future
        return Done(detail=detail)

    def _instruction(
        self, act: Arm | Disarm | CapNode | UncapNode | Tag | Untag
    ) -> tuple[Instruction, str]:
        by = act.by.strip()
        if not 0 < len(by) <= _TEXT_MAX:
            raise RequestRefused("`by` must name who asks, in at most 200 characters")
        match act:
            case Arm():
                return self._arm(act, by)
            case Disarm():
                self._feeder(act.node_id)
                return (
                    said.DisarmFeeder(node_id=act.node_id, by=by),
                    f"{act.node_id} is only observed now",
                )
            case CapNode():
                self._node(act.node_id)
                if not 0 <= act.cap_w < float("inf"):
                    raise RequestRefused("cap_w must be a number of watts, 0 or more")
                reason = _reason(act.reason)
                return (
                    said.SetOperatorCap(node_id=act.node_id, cap_w=act.cap_w, by=by, reason=reason),
                    f"{act.node_id} is limited to {act.cap_w / 1000:.1f} kW",
                )
            case UncapNode():
                self._node(act.node_id)
                return (
                    said.ClearOperatorCap(node_id=act.node_id, by=by),
                    f"the operator limit of {act.node_id} is lifted",
                )
            case Tag():
                self._miner(act.miner_id)
                reason = _reason(act.reason)
                return (
                    said.TagMiner(miner_id=act.miner_id, by=by, reason=reason),
                    f"{act.miner_id} is locked out: it will not be commanded",
                )
            case Untag():
                self._miner(act.miner_id)
                return said.UntagMiner(miner_id=act.miner_id, by=by), f"{act.miner_id} is free"
            case _:
                assert_never(act)

    def _arm(self, act: Arm, by: str) -> tuple[Instruction, str]:
        self._feeder(act.node_id)
        if not (self._guarded() or act.without_watchdog):
            raise RequestRefused(
                f"{act.node_id} has no watchdog: if this controller dies, its miners mine on. "
                "Start `naryn guard run`, or say --without-watchdog to arm it all the same"
            )
        return said.ArmFeeder(node_id=act.node_id, by=by), f"{act.node_id} is armed"

    def _node(self, node_id: str) -> None:
        _known(node_id, self._site.nodes, "node")

    def _feeder(self, node_id: str) -> None:
        self._node(node_id)
        if self._site.nodes[node_id].kind is not NodeKind.FEEDER:
            feeders = ", ".join(self._site.feeders)
            raise RequestRefused(f"{node_id} is no feeder; feeders are {feeders}")

    def _miner(self, miner_id: str) -> None:
        if miner_id not in self._site.miners:
            named = f"{miner_id[:64]!r}"
            raise RequestRefused(f"no miner {named} in the inventory; see `naryn miners`")


def _known(name: str, known: Mapping[str, object], what: str) -> None:
    if name not in known:
        raise RequestRefused(f"no {what} {name[:64]!r}; known are {', '.join(known)}"[:500])


def _reason(reason: str) -> str:
    text = reason.strip()
    if not 0 < len(text) <= _TEXT_MAX:
        raise RequestRefused("give a reason, in at most 200 characters: others will read it")
    return text
