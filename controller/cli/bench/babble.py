"""Two miners of a polled fleet babble half of the time: one says garbage, one 10 MB at once.

well ─ babble ─ babble ─ well      the order in which a steady drift of the machine cancels out

While they babble they are read as miners that take part in an order are: those that fail are
otherwise soon asked less often, and would trouble nobody.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.cli.bench.peer import GARBAGE, HUGE, Peer, host
from controller.cli.bench.polling import PolledFleet, Polling, Ran, device_at, polling
from controller.site.poll import PollPace
from controller.telemetry.outlet import until
from drivers.contract.devices import MinerDriver
from drivers.registry import build_miner

SLICES = 2
"""Of each kind."""
_ASKED_PERIODS_MAX = 6.0
_ASKED_S_MAX = 15.0
"""A babbler is asked within a period; on a machine that is too slow later, and its own deadline
comes on top.
"""


class BabbleError(Exception):
    """Two miners were to babble, and did not; says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Babblers:
    """By miner id: the drivers of their usual addresses, and of those where they babble."""

    well: Mapping[str, MinerDriver]
    ill: Mapping[str, MinerDriver]


def build_babblers(fleet: PolledFleet, peer: Peer) -> Babblers:
    """The first miner that answers of each of two firmwares: garbage, then 10 MB."""
    well: dict[str, MinerDriver] = {}
    ill: dict[str, MinerDriver] = {}
    for firmware, fault in zip(fleet.firmwares, (GARBAGE, HUGE), strict=False):
        name = next(
            name
            for name, its_firmware in fleet.firmware_of.items()
            if its_firmware == firmware and name not in fleet.hung
        )
        device = device_at(fleet.plant, peer, name, host(firmware, 0, fault))
        well[name], ill[name] = fleet.drivers[name], build_miner(device, fleet.wires)
    return Babblers(well=well, ill=ill)


async def poll_with_babblers(
    fleet: PolledFleet,
    peer: Peer,
    folder: Path,
    pace: PollPace,
    *,
    seconds: float,
    latency_ms: float,
) -> tuple[Ran, Ran]:
    """Poll the fleet with telemetry, for `seconds` while all are well and as long while two babble.

    Raises BabbleError when the two were not asked, or the peer was not.
    """
    babblers = build_babblers(fleet, peer)
    well, babble = Ran(), Ran()
    async with polling(fleet, peer, folder, pace, latency_ms, babblers.well) as under_way:
        for ill in (False, True, True, False):
            async with under_way.measured(babble if ill else well):
                if ill:
                    with babbling(fleet, babblers, under_way):
                        await babbled(babblers, babble, seconds / SLICES, pace.period_s)
                else:
                    await asyncio.sleep(seconds / SLICES)
    prove(babble)
    return well, babble


@contextmanager
def babbling(fleet: PolledFleet, babblers: Babblers, under_way: Polling) -> Iterator[None]:
    """The two are asked where they babble, and at the pace of an order."""
    fleet.drivers.update(babblers.ill)
    under_way.poll.hasten(babblers.ill)
    try:
        yield
    finally:
        under_way.poll.hasten(())
        fleet.drivers.update(babblers.well)


async def babbled(babblers: Babblers, ran: Ran, seconds: float, period_s: float) -> None:
    """Wait so long, and until each of them has babbled meanwhile. Raises BabbleError."""
    before = ran.babbled.copy()

    def silent() -> list[str]:
        return [name for name in babblers.ill if ran.babbled[name] <= before[name]]

    await asyncio.sleep(seconds)
    longest_s = _ASKED_PERIODS_MAX * period_s + _ASKED_S_MAX
    await until(lambda: not silent(), longest_s)
    if missing := silent():
        raise BabbleError(
            f"{' and '.join(missing)} did not babble within {seconds + longest_s:g} s: what two "
            "babblers cost was not measured; poll fewer miners or more seldom"
        )


def prove(babble: Ran) -> None:
    """Raises BabbleError when the peer was never asked where the two babble."""
    for asked, what in ((babble.asked_garbage, "garbage"), (babble.asked_huge, "10 MB")):
        if asked == 0:
            raise BabbleError(
                f"the peer was never asked for {what}: the reads of that miner failed for "
                "another reason, and what it costs was not measured"
            )
