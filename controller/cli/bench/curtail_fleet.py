"""The miners that are commanded, at the peer: their drivers and their rows in the inventory.

An ill one is well until it is commanded. That is the worst a wave can meet: its command lies
prepared, and nothing is known beforehand.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controller.cli.bench.fleet import BenchPlant
from controller.cli.bench.peer import KINDS
from controller.clock import SystemClock
from controller.config.inventory import InventoryRow
from drivers.contract.devices import MinerDevice, MinerDriver
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.registry import JUDGES, Wires, build_miner
from drivers.transport.grpc import SocketGrpc
from drivers.transport.http import SocketHttp
from drivers.transport.tcp_json import SocketTcpJson

HANGS, GARBAGE, HUGE = 40, 50, 60
"""Added to the second octet of an address: never answers its command, answers garbage, 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Illness:
    """Who is ill: a share of each firmware hangs; one miner answers garbage and one 10 MB."""

    hung_percent: float = 0.0
    two_babble: bool = False


WELL = Illness()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveFleet:
    """By miner id, in the plant's order. `hung`: those that never answer their command."""

    drivers: dict[str, MinerDriver]
    rows: dict[str, InventoryRow]
    hung: frozenset[str]
    http: SocketHttp

    @property
    def preparable(self) -> int:
        """Miners whose command can lie prepared."""
        return sum(row.firmware in JUDGES for row in self.rows.values())


def build_wave_fleet(
    plant: BenchPlant, ports: Mapping[str, int], firmwares: Collection[str], illness: Illness
) -> WaveFleet:
    """The controller's own drivers of the miners of these firmwares, at the peer's ports."""
    http = SocketHttp()
    nobody = MemoryPyasic(lambda _: Heard(said=None), lambda *_: Heard(said=None))
    wires = Wires(
        tcp=SocketTcpJson(), http=http, grpc=SocketGrpc(), pyasic=nobody, clock=SystemClock()
    )
    drivers: dict[str, MinerDriver] = {}
    rows: dict[str, InventoryRow] = {}
    hung, counts = set(), dict[str, int]()
    share, babble = illness.hung_percent / 100.0, [GARBAGE, HUGE] if illness.two_babble else []
    for name, profile in plant.profiles.items():
        firmware, model = profile.firmware, plant.models[name]
        if firmware not in firmwares:
            continue
        index = counts.get(firmware, 0)
        counts[firmware] = index + 1
        hangs = int((index + 1) * share) > int(index * share)
        if hangs:
            hung.add(name)
            fault = HANGS
        else:
            fault = babble.pop() if babble and firmware in JUDGES else 0
        host = f"127.{KINDS[firmware] + fault}.{index >> 8}.{index & 255}"
        device = MinerDevice(miner_id=name, host=host, profile=profile, model=model, ports=ports)
        drivers[name] = build_miner(device, wires)
        rows[name] = InventoryRow(
            miner_id=name,
            host=host,
            firmware=firmware,
            make=model.make,
            model=model.model,
            feeder=plant.site.miners[name].node_id,
            ports=dict(ports),
        )
    return WaveFleet(drivers=drivers, rows=rows, hung=frozenset(hung), http=http)
