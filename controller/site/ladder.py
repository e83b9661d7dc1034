"""Which miners the guard would put to sleep, in which order, and what each takes off. Pure."""

from collections.abc import Mapping

from controller.channel.guard import Entry, Ladder
from controller.config.inventory import InventoryRow
from controller.power.image import Image
from controller.power.ledger import Ledger
from controller.power.site import Miner, Site
from controller.power.state import State, Target
from controller.power.targets import draw_w, mode_to_restore, settled_w
from drivers.contract.readings import MinerReading

_STEP_W = 100.0
"""Powers are given in these steps: a ladder is not a new one for every watt that flickers."""


def ladder_of(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    rows: Mapping[str, InventoryRow],
    epoch: str,
) -> Ladder:
    """Every miner of armed feeders that no person has tagged; protected tiers go last, then the
    unreachable, and the worst J/TH goes first. What the others draw is floor.
    """
    floor_w, chosen = 0.0, []
    for miner in site.miners.values():
        name = miner.miner_id
        target, reading = ledger.targets.get(name), image.miners.get(name)
        standing_w = max(
            draw_w(miner, target, image.now_s, reading), settled_w(miner, target, reading)
        )
        armed = site.feeder_of[miner.node_id] in state.armed
        if not armed or name in state.tags or name in ledger.idle:
            floor_w += standing_w
            continue
        saved_w = _stepped(max(0.0, standing_w - miner.sleep_power_w))
        floor_w += standing_w - saved_w
        chosen.append((_order(miner, image), _entry(rows[name], saved_w, target, reading)))
    chosen.sort(key=lambda pair: pair[0])
    return Ladder(
        site_id=site.site_id,
        epoch=epoch,
        floor_w=_stepped(floor_w),
        entries=tuple(entry for _, entry in chosen),
    )


def _order(miner: Miner, image: Image) -> tuple[bool, bool, int, float, str]:
    unreachable = miner.miner_id in image.unreachable
    return miner.tier == 0, unreachable, -miner.tier, -miner.efficiency_jth, miner.miner_id


def _entry(
    row: InventoryRow, power_w: float, target: Target | None, reading: MinerReading | None
) -> Entry:
    mode, raw_mode = mode_to_restore(target, reading)
    return Entry(
        miner_id=row.miner_id,
        host=row.host,
        firmware=row.firmware,
        model=row.model,
        ports=row.ports,
        power_w=power_w,
        mode=mode,
        raw_mode=raw_mode,
        power_limit_w=None if reading is None else reading.power_limit_w,
    )


def _stepped(power_w: float) -> float:
    return round(power_w / _STEP_W) * _STEP_W
