"""Telemetry of a polled fleet as `naryn run` has it; the peer stands for the database."""

from collections.abc import Iterable
from pathlib import Path

from controller.cli.bench.peer import Peer
from controller.clock import SystemClock
from controller.power.site import Site
from controller.telemetry.history import History
from controller.telemetry.influx import InfluxWriter
from controller.telemetry.keeper import SpoolKeeper
from controller.telemetry.outlet import Outlet
from controller.telemetry.recorder import Recorder
from controller.telemetry.series import KnownMiner, MinerSeries, SiteSeries
from controller.telemetry.verdict import Address

_SPOOL_BYTES_MAX = 256 * 1024 * 1024


def build_recorder(
    site: Site, miners: Iterable[str], clock: SystemClock, peer: Peer, folder: Path
) -> tuple[Recorder, Outlet]:
    """Who hears of these miners' readings, by id, and their way to the peer; files in `folder`."""
    known = {
        name: KnownMiner(miner=site.miners[name], feeder=site.miners[name].node_id, model="bench")
        for name in miners
    }
    address = Address(
        url=f"http://127.0.0.1:{peer.http_port}",
        bucket="bench",
        org="bench",
        token=None,
        timeout_s=10.0,
        spool_bytes_max=_SPOOL_BYTES_MAX,
    )
    keeper = SpoolKeeper(folder / "spool" / "spool.db", _SPOOL_BYTES_MAX, clock)
    outlet = Outlet(keeper, InfluxWriter(address), clock)
    return (
        Recorder(
            clock,
            SiteSeries(site.site_id),
            MinerSeries(site.site_id, known),
            History(folder / "history" / "history.db", clock),
            outlet,
        ),
        outlet,
    )
