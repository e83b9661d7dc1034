"""Which miners: the least useful watt goes first and comes back last; every miner passed over has
a reason.

Down: protected tiers last, then the deaf and the unreachable, then those too slow for the
deadline, then by tier, then by J/TH from the worst. Up: tier and J/TH backwards. Miners are
whole, so a limit is undershot by less than one miner. Equal keys fall back to the id, so plans
are reproducible.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.power.caps import Limit, meter_w
from controller.power.image import Image
from controller.power.ledger import Ledger
from controller.power.regulate import Regulation
from controller.power.site import Miner, Site
from controller.power.state import FeederState, OrderStage, State, Target, TargetState
from controller.power.targets import draw_w, settled_w

_SAVED_SHARE_MIN = 0.05
"""A miner that would free less than this share of its nameplate is not worth a command."""


class SkipReason(StrEnum):
    """Why a miner was passed over. Stable: messages and journals carry these words."""

    NOT_ARMED = "not_armed"
    TAGGED = "tagged"
    IDLE = "idle"
    """It sleeps though nobody here asked: not ours to wake."""
    ASLEEP = "asleep"
    IN_FLIGHT = "in_flight"
    DEAF = "deaf"
    STUCK = "stuck"
    MIN_OFF = "min_off"
    NO_METER = "no_meter"
    NO_ROOM = "no_room"
    """A limit on its path has no room for it."""
    NO_CREDIT = "no_credit"
    """The ramp of this tick is used up."""
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Ids to curtail and to restore, the reasons of the rest, and what could not be found per
    node, in W.
    """

    sleep: tuple[str, ...] = ()
    wake: tuple[str, ...] = ()
    skipped: Mapping[SkipReason, int]
    short_w: Mapping[str, float]
    started_w: float = 0.0
    proposed_sleep: tuple[str, ...] = ()
    """What would be curtailed on feeders that only observe."""


def allocate(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    regulation: Regulation,
    ahead: Mapping[float, Mapping[str, Limit]],
) -> Allocation:
    """Choose miners for what the law asks.

    `ahead`: limits as they will be when a miner with that time to come up has come up and stayed
    its least time; none is started into a planned peak.
    """
    skipped: Counter[SkipReason] = Counter()
    if not any(node.must_go_w > 0 for node in regulation.nodes.values()):
        wake, started_w = _starts(state, image, site, ledger, regulation, skipped, ahead)
        return Allocation(wake=wake, skipped=skipped, short_w={}, started_w=started_w)
    deadline_s = _deadline_s(state, image, site, regulation)
    armed = _down_order(state, image, site, ledger, skipped, deadline_s, armed=True)
    sleep, short_w = _cover(armed, image, site, ledger, regulation)
    proposed: tuple[str, ...] = ()
    if short_w and not set(site.feeders) <= set(state.armed):
        observed = _down_order(state, image, site, ledger, Counter(), deadline_s, armed=False)
        proposed, _ = _cover(observed, image, site, ledger, regulation, short_w)
    skipped[SkipReason.NOT_NEEDED] += len(site.miners) - len(sleep) - skipped.total()
    wake, started_w = (), 0.0
    if not sleep:  # what cannot be shed here must not keep the rest of the site asleep
        wake, started_w = _starts(state, image, site, ledger, regulation, Counter(), ahead)
    return Allocation(
        sleep=sleep,
        wake=wake,
        skipped=skipped,
        short_w=short_w,
        started_w=started_w,
        proposed_sleep=proposed,
    )


def _down_order(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    skipped: Counter[SkipReason],
    deadline_s: float | None,
    *,
    armed: bool,
) -> list[Miner]:
    chosen = []
    for miner in site.miners.values():
        why = _no_sleep(miner, state, image, site, ledger, armed=armed)
        if why is None:
            chosen.append(miner)
        else:
            skipped[why] += 1
    targets = ledger.targets

    def key(miner: Miner) -> tuple[bool, bool, bool, int, float, str]:
        target = targets.get(miner.miner_id)
        deaf = miner.miner_id in image.unreachable or (
            target is not None and target.state is TargetState.DEAF
        )
        slow = (
            deadline_s is not None
            and miner.dynamics.down_s > deadline_s
            and not _draws_little(miner, target, image)
        )
        return miner.tier == 0, deaf, slow, -miner.tier, -miner.efficiency_jth, miner.miner_id

    return sorted(chosen, key=key)


def _no_sleep(
    miner: Miner, state: State, image: Image, site: Site, ledger: Ledger, *, armed: bool
) -> SkipReason | None:
    if (site.feeder_of[miner.node_id] in state.armed) is not armed:
        return SkipReason.NOT_ARMED
    if miner.miner_id in state.tags:
        return SkipReason.TAGGED
    if miner.miner_id in ledger.idle:
        return SkipReason.IDLE
    target = ledger.targets.get(miner.miner_id)
    match target.state if target is not None else None:
        case TargetState.CURTAILED:
            return SkipReason.ASLEEP
        case TargetState.CURTAILING:
            return SkipReason.IN_FLIGHT
        case TargetState.DEAF if target is not None and target.retry_s > image.now_s:
            return SkipReason.DEAF
        case _:
            return None


def _saved_w(miner: Miner, image: Image, ledger: Ledger, feeder: FeederState) -> float:
    """What sleeping this miner takes off its feeder's meter in the end, in W."""
    reading = image.miners.get(miner.miner_id)
    target = ledger.targets.get(miner.miner_id)
    gain = feeder.gain if feeder.gain is not None else 1.0
    return gain * (settled_w(miner, target, reading) - miner.sleep_power_w)


def _cover(
    candidates: list[Miner],
    image: Image,
    site: Site,
    ledger: Ledger,
    regulation: Regulation,
    needs_w: Mapping[str, float] | None = None,
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Walk the candidates for each node, deepest first; a miner chosen for a feeder counts for
    all above it.
    """
    left_w = {
        name: node.must_go_w if needs_w is None else needs_w.get(name, 0.0)
        for name, node in regulation.nodes.items()
    }
    chosen: dict[str, None] = {}
    for name in site.deepest_first:
        if left_w.get(name, 0.0) <= 0:
            continue
        for miner in candidates:
            path = site.paths[miner.node_id]
            if miner.miner_id in chosen or name not in path:
                continue
            feeder = regulation.feeders[site.feeder_of[miner.node_id]]
            saved_w = _saved_w(miner, image, ledger, feeder)
            if saved_w < _SAVED_SHARE_MIN * miner.rated_power_w:
                continue
            chosen[miner.miner_id] = None
            for above in path:
                if above in left_w:
                    left_w[above] -= saved_w
            if left_w[name] <= 0:
                break
    return tuple(chosen), {name: w for name, w in left_w.items() if w > 0}


def _starts(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    regulation: Regulation,
    skipped: Counter[SkipReason],
    ahead: Mapping[float, Mapping[str, Limit]],
) -> tuple[tuple[str, ...], float]:
    """Wake the most useful sleepers that every limit on their path has room for, the quickest of
    them first, as far as the ramp's credit goes.

    The ramp is paid when a start is commanded. Were slow firmware started before quick, both would
    arrive together and the load would rise faster than the ramp.
    """
    if regulation.start_w <= 0:
        waiting = sum(t.state is TargetState.CURTAILED for t in ledger.targets.values())
        skipped[SkipReason.NO_ROOM] += waiting
        return (), 0.0
    fitting = _with_room(state, image, site, ledger, regulation, skipped, ahead)
    credit_w, started, started_w = regulation.start_w, [], 0.0
    for miner, added_w in sorted(fitting, key=lambda found: found[0].dynamics.up_s):
        if credit_w < added_w:
            break
        started.append(miner.miner_id)
        started_w += added_w
        credit_w -= added_w
    if len(started) < len(fitting):
        skipped[SkipReason.NO_CREDIT] += len(fitting) - len(started)
    return tuple(started), started_w


def _with_room(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    regulation: Regulation,
    skipped: Counter[SkipReason],
    ahead: Mapping[float, Mapping[str, Limit]],
) -> list[tuple[Miner, float]]:
    """The sleepers that may be woken and all fit together, with the watts that each will add."""
    room_w = {name: node.room_w for name, node in regulation.nodes.items()}
    tighter_w = {up_s: _falls_w(regulation, later, site) for up_s, later in ahead.items()}
    fitting = []
    for miner, target in _up_order(site, ledger):
        why = _no_wake(miner, target, state, image, site)
        if why is not None:
            skipped[why] += 1
            continue
        feeder = regulation.feeders[site.feeder_of[miner.node_id]]
        gain = feeder.gain if feeder.gain is not None else 1.0
        drawn_w = draw_w(miner, target, image.now_s, image.miners.get(miner.miner_id))
        added_w = gain * (target.baseline_w - drawn_w)
        falls_w = tighter_w[miner.dynamics.up_s]
        path = site.paths[miner.node_id]
        if any(room_w.get(n, 0.0) - falls_w.get(n, 0.0) < added_w for n in path):
            skipped[SkipReason.NO_ROOM] += 1
            continue
        fitting.append((miner, added_w))
        for name in path:
            room_w[name] = room_w.get(name, 0.0) - added_w
    return fitting


def _falls_w(regulation: Regulation, later: Mapping[str, Limit], site: Site) -> dict[str, float]:
    """By how much each node's limit will be lower then than now, in W."""
    share = 1.0 - site.policy.margin
    return {
        name: max(0.0, share * (node.limit.limit_w - later[name].limit_w))
        for name, node in regulation.nodes.items()
    }


def _draws_little(miner: Miner, target: Target | None, image: Image) -> bool:
    """A miner on its way up that still draws next to nothing frees what it would draw at once."""
    if target is None or target.state is not TargetState.RESTORING:
        return False
    reading = image.miners.get(miner.miner_id)
    return draw_w(miner, target, image.now_s, reading) < 0.5 * target.baseline_w


def _deadline_s(state: State, image: Image, site: Site, regulation: Regulation) -> float | None:
    """How soon what is shed now must be gone; None when there is time.

    The shortest time left of an order being delivered; once that is over, or where the meters
    stand above a limit that is in force, the quick firmwares go first.
    """
    left = [
        order.start_s + order.within_s - image.now_s
        for order in state.orders.values()
        if order.stage in {OrderStage.WAITING, OrderStage.DELIVERING}
    ]
    soonest_s = min(left, default=None)
    if soonest_s is not None:
        return max(soonest_s, site.policy.urgent_s)
    over = any(
        node.measured_w is not None
        and not node.limit.planned
        and node.measured_w > (1.0 + site.policy.over_limit) * node.limit.limit_w
        for node in regulation.nodes.values()
    )
    return site.policy.urgent_s if over else None


def _up_order(site: Site, ledger: Ledger) -> Iterator[tuple[Miner, Target]]:
    waiting = [
        (site.miners[name], target)
        for name, target in ledger.targets.items()
        if target.state is not TargetState.RUNNING and name in site.miners
    ]
    yield from sorted(
        waiting, key=lambda pair: (pair[0].tier, pair[0].efficiency_jth, pair[0].miner_id)
    )


def _no_wake(
    miner: Miner, target: Target, state: State, image: Image, site: Site
) -> SkipReason | None:
    feeder = site.feeder_of[miner.node_id]
    if feeder not in state.armed:
        return SkipReason.NOT_ARMED
    if miner.miner_id in state.tags:
        return SkipReason.TAGGED
    if meter_w(image, site.nodes[feeder].meter_id) is None:
        return SkipReason.NO_METER
    match target.state:
        case TargetState.CURTAILING | TargetState.RESTORING:
            return SkipReason.IN_FLIGHT
        case TargetState.DEAF:
            return SkipReason.DEAF
        case TargetState.STUCK if target.retry_s > image.now_s:
            return SkipReason.STUCK
        case TargetState.CURTAILED if image.now_s - target.commanded_s < site.policy.min_off_s:
            return SkipReason.MIN_OFF
        case _:
            return None
