"""From a device of the inventory to the driver that speaks to it: one literal table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.contract.devices import MinerDevice, MinerDriver
from drivers.contract.errors import Unsupported
from drivers.contract.frames import Judge
from drivers.miners.antminer_stock import frame as antminer_stock_frame
from drivers.miners.antminer_stock.driver import AntminerStock
from drivers.miners.braiins import frame as braiins_frame
from drivers.miners.braiins.driver import Braiins
from drivers.miners.luxos import frame as luxos_frame
from drivers.miners.luxos.driver import Luxos
from drivers.miners.pyasic_any.driver import PyasicMiner
from drivers.miners.pyasic_any.port import PyasicPort
from drivers.miners.whatsminer_v2 import frame as whatsminer_v2_frame
from drivers.miners.whatsminer_v2.driver import WhatsminerV2
from drivers.transport.ports import Clock, Grpc, Http, TcpJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """What drivers speak through; one set serves the whole fleet."""

    tcp: TcpJson
    http: Http
    grpc: Grpc
    pyasic: PyasicPort
    clock: Clock


MinerFactory = Callable[[MinerDevice, Wires], MinerDriver]


def _antminer_stock(device: MinerDevice, wires: Wires) -> MinerDriver:
    return AntminerStock(device, tcp=wires.tcp, http=wires.http, clock=wires.clock)


def _whatsminer_v2(device: MinerDevice, wires: Wires) -> MinerDriver:
    return WhatsminerV2(device, tcp=wires.tcp, clock=wires.clock)


def _luxos(device: MinerDevice, wires: Wires) -> MinerDriver:
    return Luxos(device, tcp=wires.tcp, clock=wires.clock)


def _braiins(device: MinerDevice, wires: Wires) -> MinerDriver:
    return Braiins(device, tcp=wires.tcp, grpc=wires.grpc, clock=wires.clock)


def _pyasic(device: MinerDevice, wires: Wires) -> MinerDriver:
    return PyasicMiner(device, pyasic=wires.pyasic, clock=wires.clock)


MINERS: Mapping[str, MinerFactory] = {
    "antminer-stock": _antminer_stock,
    "whatsminer-v2": _whatsminer_v2,
    "luxos": _luxos,
    "braiins": _braiins,
    "pyasic": _pyasic,
}
"""Firmware → driver. `pyasic` is every make that has no driver of its own."""


JUDGES: Mapping[str, Judge] = {
    "antminer-stock": antminer_stock_frame.judge,
    "whatsminer-v2": whatsminer_v2_frame.judge,
    "luxos": luxos_frame.judge,
    "braiins": braiins_frame.judge,
}
"""Firmware → what an answer to its prepared Sleep means; these drivers are `FrameMaker`s."""


def build_miner(device: MinerDevice, wires: Wires) -> MinerDriver:
    """Return the driver of one miner.

    Raises Unsupported when no driver speaks the firmware, ValueError when the firmware's profile
    does not fit its driver.
    """
    factory = MINERS.get(device.profile.firmware)
    if factory is None:
        known = ", ".join(sorted(MINERS))
        detail = f"no driver for firmware {device.profile.firmware!r}; use one of: {known}"
        raise Unsupported(device.miner_id, "build", detail)
    return factory(device, wires)


def drives_by_pyasic(firmware: str) -> bool:
    """Whether miners of this firmware need the pyasic child."""
    return MINERS.get(firmware) is _pyasic
