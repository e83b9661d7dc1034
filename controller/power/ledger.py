"""The in-flight ledger: what commands already given do to the load now, and where they will settle.

`model_now_w` follows every firmware's dead time and ramp; `model_end_w` is the same fleet once
all of it has arrived. Both are sums of what miners say of themselves; the feeder's meter turns
them into truth by a gain (miners under-report by some percent, in proportion) and a bias (what
else hangs on the feeder).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controller.power.image import Image
from controller.power.site import Miner, Policy, Site
from controller.power.state import FeederState, State, Target, TargetState
from controller.power.targets import draw_w, observe, reported_w, settled_w

_GAIN_STEP = 0.02
_GAIN_MIN, _GAIN_MAX = 0.9, 1.2
"""Firmwares are off by 5–20 % (fleet.md §5.4, Foreman); a scale outside this range is another
load's doing.
"""
_GAIN_LOAD_SHARE = 0.5
"""The scale is learned only above this share of the feeder's nameplate: below it the auxiliaries
weigh too much.
"""
_UNREAD_SHARE = 0.1
_FLOOR_STEP = 0.1
_FLOOR_TOLERANCE = 0.25
_FLOOR_TOLERANCE_W = 1_000.0
_UNMETERED_FACTOR = 1.08
"""What miners report is raised by this while their feeder's meter is lost (energy.md §3.8.1)."""


@dataclass(slots=True)
class FeederLoad:
    """Sums over the miners of one feeder, in W as they report it."""

    model_now_w: float = 0.0
    model_end_w: float = 0.0
    rated_w: float = 0.0
    sleep_w: float = 0.0
    down_until_s: float | None = None
    """When the last descent in flight has had its time and been judged; None with none in
    flight.
    """
    hoped_until_s: float | None = None
    """The same without miners known as deaf that are tried once more: no verdict waits for those.
    """
    up_until_s: float | None = None
    asleep: int = 0
    """Miners confirmed asleep."""
    miners: int = 0
    moving: int = 0
    deaf: int = 0
    unread: int = 0
    """Miners never read: they count at their nameplate."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The fleet at one tick: targets moved on by their readings, and the sums of every feeder and
    rack.
    """

    targets: Mapping[str, Target]
    feeders: Mapping[str, FeederLoad]
    racks: Mapping[str, float] = field(default_factory=dict)
    """Settled watts below each node under a feeder."""
    idle: frozenset[str] = frozenset()
    """Miners that sleep though we did not ask: not ours to count on, nor to wake."""


def project(state: State, image: Image, site: Site) -> Ledger:
    """Move every target on and sum the fleet. One pass; unchanged targets are kept as they are."""
    targets = dict(state.targets)
    loads = {name: FeederLoad() for name in site.feeders}
    racks: dict[str, float] = {}
    idle: list[str] = []
    feeder_of, paths, readings, now_s = site.feeder_of, site.paths, image.miners, image.now_s
    for miner in site.miners.values():
        load = loads[feeder_of[miner.node_id]]
        reading = readings.get(miner.miner_id)
        target = targets.get(miner.miner_id)
        load.miners += 1
        load.rated_w += miner.rated_power_w
        load.sleep_w += miner.sleep_power_w
        load.unread += reading is None
        if target is None:
            end_w = reported_w(miner, reading)
            load.model_now_w += end_w
            if reading is not None and reading.hashing is False:
                idle.append(miner.miner_id)
        else:
            moved = observe(miner, target, reading, now_s, site.policy)
            if moved is not target:
                targets[miner.miner_id] = moved
            end_w = settled_w(miner, moved, reading)
            load.model_now_w += draw_w(miner, moved, now_s, reading)
            _count(load, miner, moved, now_s, site.policy)
        load.model_end_w += end_w
        for name in paths[miner.node_id]:
            if name in loads:
                break
            racks[name] = racks.get(name, 0.0) + end_w
    return Ledger(targets=targets, feeders=loads, racks=racks, idle=frozenset(idle))


def _count(load: FeederLoad, miner: Miner, target: Target, now_s: float, policy: Policy) -> None:
    """A descent is over when the model says so *and* a reading has been judged: until then the
    meter teaches nothing, and what it shows too much is nobody's fault yet.
    """
    match target.state:
        case TargetState.CURTAILING | TargetState.CURTAILED:
            until_s = target.commanded_s + miner.dynamics.down_s
            if target.state is TargetState.CURTAILED:
                load.asleep += 1
            else:
                load.moving += 1
                until_s += policy.confirm_s
            if until_s >= now_s:
                load.down_until_s = _later_s(load.down_until_s, until_s)
                if target.attempts <= 1:
                    load.hoped_until_s = _later_s(load.hoped_until_s, until_s)
        case TargetState.RESTORING:
            load.moving += 1
            until_s = target.commanded_s + miner.dynamics.up_s
            if until_s > now_s:
                load.up_until_s = _later_s(load.up_until_s, until_s)
        case TargetState.DEAF | TargetState.STUCK:
            load.deaf += 1
        case TargetState.RUNNING:
            pass


def _later_s(held_s: float | None, until_s: float) -> float:
    return until_s if held_s is None else max(held_s, until_s)


def now_w(feeder: FeederState, load: FeederLoad, auxiliary_w: float) -> float:
    """Expected meter reading at this moment: the trajectory that the meter is compared with."""
    return auxiliary_w + _gain(feeder) * load.model_now_w + (feeder.bias_w or 0.0)


def settle_w(feeder: FeederState, load: FeederLoad, auxiliary_w: float, *, metered: bool) -> float:
    """Where the feeder's meter will stand once every command given has arrived.

    Losing the meter never makes a feeder look smaller than it was known to be.
    """
    learnt_w = _gain(feeder) * load.model_end_w + (feeder.bias_w or 0.0)
    if not metered:
        return auxiliary_w + max(_UNMETERED_FACTOR * load.model_end_w, learnt_w)
    return auxiliary_w + learnt_w


def scaled_rack_w(node_id: str, state: State, site: Site, ledger: Ledger) -> float:
    """Settled watts below a rack: what its miners say, by the scale of their feeder's meter."""
    feeder = site.feeder_of.get(node_id)
    gain = _gain(state.feeders.get(feeder, FeederState())) if feeder is not None else 1.0
    return gain * ledger.racks.get(node_id, 0.0)


def floor_w(feeder: FeederState, load: FeederLoad, auxiliary_w: float) -> float:
    """The least that the feeder can draw with every miner asleep: measured, else sleep draws and
    auxiliaries.
    """
    return feeder.floor_w if feeder.floor_w is not None else load.sleep_w + auxiliary_w


def learn(
    feeder: FeederState, load: FeederLoad, auxiliary_w: float, meter: float | None, step: float
) -> FeederState:
    """Trim the model by the meter, in W.

    Frozen while a descent is in flight or the meter is not GOOD; while miners come up the bias
    may rise but not fall, since miners slower than their figures must not look like room for
    more.
    """
    if meter is None or load.down_until_s is not None:
        return feeder
    settled = load.up_until_s is None and load.moving == 0
    gain = _learn_gain(feeder, load, meter - auxiliary_w) if settled else feeder.gain
    rest_w = meter - auxiliary_w - (1.0 if gain is None else gain) * load.model_now_w
    bias_w = rest_w if feeder.bias_w is None else feeder.bias_w + step * (rest_w - feeder.bias_w)
    if not settled and feeder.bias_w is not None:
        bias_w = max(bias_w, feeder.bias_w)
    return replace(
        feeder, gain=gain, bias_w=bias_w, floor_w=_learn_floor(feeder, load, auxiliary_w, meter)
    )


def _gain(feeder: FeederState) -> float:
    return 1.0 if feeder.gain is None else feeder.gain


def _learn_gain(feeder: FeederState, load: FeederLoad, mining_w: float) -> float | None:
    high = load.model_now_w > _GAIN_LOAD_SHARE * load.rated_w
    if not high or load.unread > _UNREAD_SHARE * load.miners:
        return feeder.gain
    seen = min(_GAIN_MAX, max(_GAIN_MIN, mining_w / load.model_now_w))
    return seen if feeder.gain is None else feeder.gain + _GAIN_STEP * (seen - feeder.gain)


def _learn_floor(
    feeder: FeederState, load: FeederLoad, auxiliary_w: float, meter: float
) -> float | None:
    if load.miners == 0 or load.asleep < load.miners:
        return feeder.floor_w
    expected_w = load.sleep_w + auxiliary_w
    if abs(meter - expected_w) > _FLOOR_TOLERANCE * expected_w + _FLOOR_TOLERANCE_W:
        return feeder.floor_w  # a miner that lies about sleeping must not become the floor
    held_w = feeder.floor_w if feeder.floor_w is not None else meter
    return held_w + _FLOOR_STEP * (meter - held_w)
