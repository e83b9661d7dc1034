"""The plant of the benchmark: real models and firmwares on a tree of twenty feeders.

plant ─┬─ t1 ─┬─ f01 (meter) ── N/20 miners
       │      ├─ …
       │      └─ f05
       ├─ t2 … t4
       └─ evening peak at 18:00 local: always planned, never open in a run
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from zoneinfo import ZoneInfo

from controller.power.site import Miner, Node, NodeKind, Policy, Site, Window
from drivers.contract.capabilities import FirmwareProfile, MinerModel
from drivers.profiles import Catalogue

TRANSFORMERS = 4
FEEDERS_EACH = 5
FEEDERS = TRANSFORMERS * FEEDERS_EACH
ROOT = "plant"

MIX = (
    ("antminer-stock", 4, ("Antminer S19 Pro", "Antminer S19j Pro", "Antminer S21")),
    ("whatsminer-v2", 3, ("WhatsMiner M30S++", "WhatsMiner M50S", "WhatsMiner M60S")),
    ("luxos", 2, ("Antminer S19k Pro", "Antminer S19 XP")),
    ("braiins", 1, ("Antminer S19j Pro", "Antminer S19 XP")),
)
"""Firmware, miners of it in every ten, models in turn: the mix of all benchmarks."""
_AUXILIARY_SHARE = 0.02
"""Fans and network of a feeder, as a share of its miners' nameplates."""
_RATING_SHARE = 1.15
_RAMP_UP_S, _RAMP_DOWN_S = 60.0, 20.0
"""The whole load comes up and goes down in this time: fast ramps and short minimum times, so that
a minute holds moves in both directions.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlant:
    """A site, and by miner id what its miners are."""

    site: Site
    models: Mapping[str, MinerModel]
    profiles: Mapping[str, FirmwareProfile]
    full_w: Mapping[str, float]
    """Nameplate load of each node, auxiliaries included, in W."""


def build_plant(miners: int, catalogue: Catalogue) -> BenchPlant:
    """A plant of that many miners. Raises ProfileError when the catalogue lacks a firmware or
    model of the mix.
    """
    deck = [
        (catalogue.profile(firmware), [catalogue.model(name) for name in names])
        for firmware, of_ten, names in MIX
        for _ in range(of_ten)
    ]
    fleet: dict[str, Miner] = {}
    models: dict[str, MinerModel] = {}
    profiles: dict[str, FirmwareProfile] = {}
    for index in range(miners):
        profile, choice = deck[index % len(deck)]
        model = choice[index // len(deck) % len(choice)]
        name = f"m{index:06}"
        models[name], profiles[name] = model, profile
        fleet[name] = Miner(
            miner_id=name,
            node_id=_feeder(index * FEEDERS // miners),
            tier=1,
            firmware=profile.firmware,
            rated_power_w=model.rated_power_w,
            rated_hashrate_ths=model.rated_hashrate_ths,
            sleep_power_w=model.sleep_power_w,
            dynamics=profile.dynamics,
        )
    nodes, full_w = _tree(fleet)
    policy = Policy(
        ramp_up_w_per_s=full_w[ROOT] / _RAMP_UP_S,
        ramp_down_w_per_s=full_w[ROOT] / _RAMP_DOWN_S,
        min_on_s=20.0,
        min_off_s=10.0,
        recover_s=3.0,
    )
    peak = Window(
        window_id="evening",
        node_id=ROOT,
        cap_w=0.5 * full_w[ROOT],
        since=time(18),
        until=time(22),
    )
    site = Site(
        site_id="bench",
        timezone=ZoneInfo("Asia/Bishkek"),
        nodes=nodes,
        miners=fleet,
        policy=policy,
        windows=(peak,),
    )
    return BenchPlant(site=site, models=models, profiles=profiles, full_w=full_w)


def _feeder(index: int) -> str:
    return f"f{index + 1:02}"


def _tree(fleet: Mapping[str, Miner]) -> tuple[dict[str, Node], dict[str, float]]:
    names = [_feeder(index) for index in range(FEEDERS)]
    rated_w = dict.fromkeys(names, 0.0)
    for miner in fleet.values():
        rated_w[miner.node_id] += miner.rated_power_w
    full_w = {name: rated_w[name] * (1.0 + _AUXILIARY_SHARE) for name in names}
    nodes: dict[str, Node] = {}
    for index in range(TRANSFORMERS):
        above = f"t{index + 1}"
        below = names[index * FEEDERS_EACH : (index + 1) * FEEDERS_EACH]
        full_w[above] = sum(full_w[name] for name in below)
        nodes[above] = Node(
            node_id=above,
            kind=NodeKind.TRANSFORMER,
            parent=ROOT,
            rating_w=_RATING_SHARE * full_w[above],
        )
        for name in below:
            nodes[name] = Node(
                node_id=name,
                kind=NodeKind.FEEDER,
                parent=above,
                rating_w=_RATING_SHARE * full_w[name],
                meter_id=f"{name}-meter",
                auxiliary_w=_AUXILIARY_SHARE * rated_w[name],
            )
    full_w[ROOT] = sum(full_w[name] for name in names)
    rating_w = _RATING_SHARE * full_w[ROOT]
    plant = Node(node_id=ROOT, kind=NodeKind.PLANT, parent=None, rating_w=rating_w)
    return {ROOT: plant, **nodes}, full_w
