"""From the groups of a scenario to personas, one an address; all chance comes from one seeded
source."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from math import ceil
from typing import Protocol

from simulators.devices.antminer import Antminer, ModeKey
from simulators.devices.braiins import Braiins
from simulators.devices.luxos import Luxos
from simulators.devices.persona import EPOCH_S, Persona, Unit
from simulators.devices.whatsminer import Whatsminer
from simulators.physics.miner import MinerPhysics
from simulators.physics.miner_models import LUXOS_SLEEP_POWER_W, TIMINGS, MinerRating, rating_of

LOOPBACK = IPv4Network("127.0.0.0/8")
MAKES: Mapping[str, str] = {
    "antminer-stock": "AntMiner",
    "whatsminer-v2": "WhatsMiner",
    "luxos": "AntMiner",
    "braiins": "AntMiner",
}


class MinerGroup(Protocol):
    """Equal miners on consecutive loopback addresses, as a scenario file lists them."""

    @property
    def feeder(self) -> str: ...
    @property
    def firmware(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def first_host(self) -> str: ...
    @property
    def under_report_percent(self) -> float: ...
    @property
    def deaf_count(self) -> int: ...
    @property
    def deaf_percent(self) -> float: ...


def build_fleet(
    groups: Iterable[MinerGroup],
    *,
    rng: random.Random,
    now_s: float = 0.0,
    ambient_c: float = 20.0,
    epoch_s: int = EPOCH_S,
) -> dict[str, Persona]:
    """Make every miner of the groups, warm and hashing at `now_s`; the keys are the addresses.

    Every second stock Antminer obeys only `miner-mode`. Under-reporting is drawn uniformly up to
    the group's percentage; the number of deaf miners is exact. Raises ValueError, naming the group,
    for what cannot be.
    """
    fleet: dict[str, Persona] = {}
    for group in groups:
        where = f"miners at {group.first_host} ({group.firmware}, {group.model})"
        try:
            rating = _rating(group)
            hosts = _hosts(group)
        except ValueError as problem:
            raise ValueError(f"{where}: {problem}") from problem
        deaf = set(rng.sample(range(group.count), _deaf_count(group)))
        for index, host in enumerate(hosts):
            if host in fleet:
                raise ValueError(f"{where}: {host} belongs to another group; move first_host")
            unit_rng = random.Random(rng.getrandbits(64))
            miner = MinerPhysics(
                rating,
                TIMINGS[group.firmware],
                # A source of its own: how often a miner is asked must not change how it hashes.
                rng=random.Random(unit_rng.getrandbits(64)),
                under_report=unit_rng.uniform(0.0, group.under_report_percent / 100.0),
                deaf=index in deaf,
                ambient_c=ambient_c,
                now_s=now_s,
            )
            unit = Unit(
                host=host,
                feeder=group.feeder,
                miner=miner,
                mac="02:" + ":".join(f"{unit_rng.randrange(256):02X}" for _ in range(5)),
                serial=f"SIM{unit_rng.randrange(10**12):012d}",
                rng=unit_rng,
                epoch_s=epoch_s,
            )
            fleet[host] = _persona(group.firmware, unit, index)
    return fleet


def _persona(firmware: str, unit: Unit, index: int) -> Persona:
    match firmware:
        case "antminer-stock":
            mode_key = ModeKey.EITHER if index % 2 else ModeKey.MINER_MODE_ONLY
            return Antminer(unit, mode_key=mode_key)
        case "whatsminer-v2":
            return Whatsminer(unit)
        case "luxos":
            return Luxos(unit)
    return Braiins(unit)


def _rating(group: MinerGroup) -> MinerRating:
    make = MAKES.get(group.firmware)
    if make is None:
        known = ", ".join(MAKES)
        raise ValueError(f"firmware {group.firmware!r} is not simulated; use one of: {known}")
    rating = rating_of(group.model)
    if rating.make != make:
        raise ValueError(f"{group.firmware} does not run on a {rating.make}")
    if group.firmware == "luxos":
        return replace(rating, sleep_power_w=LUXOS_SLEEP_POWER_W)
    return rating


def _hosts(group: MinerGroup) -> list[str]:
    try:
        first = IPv4Address(group.first_host)
    except AddressValueError as problem:
        raise ValueError("first_host is no IPv4 address") from problem
    if group.count < 1:
        raise ValueError("count must be at least 1")
    last = int(first) + group.count - 1
    if first not in LOOPBACK or last >= int(LOOPBACK.broadcast_address):
        raise ValueError("every address must lie in 127.0.0.0/8; lower first_host or count")
    return [str(IPv4Address(number)) for number in range(int(first), last + 1)]


def _deaf_count(group: MinerGroup) -> int:
    wanted = group.deaf_count or ceil(group.count * group.deaf_percent / 100.0)
    return min(group.count, max(0, wanted))
