"""Builds what records a site: history always, spool and shipper where `[telemetry]` names a
database.
"""

import asyncio
from pathlib import Path

import msgspec

from controller.app.fleet import Fleet
from controller.channel.frames import RequestRefused
from controller.channel.history import ReadHistory
from controller.channel.server import Handler
from controller.clock import SiteClock
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem, shown
from controller.dispatch.secret_files import SecretFileError, read_secret
from controller.power.site import Site
from controller.telemetry.history import History, HistoryUnanswered
from controller.telemetry.keeper import SpoolKeeper
from controller.telemetry.outlet import Outlet
from controller.telemetry.recorder import Recorder
from controller.telemetry.series import KnownMiner, MinerSeries, SiteSeries
from controller.telemetry.store import StoreError
from controller.telemetry.verdict import Address

_MIB = 1024 * 1024


def spool_path(config: SiteConfig) -> Path:
    """Where lines wait for the database."""
    return config.state_dir / "spool" / "spool.db"


def build_history(config: SiteConfig, clock: SiteClock) -> History:
    """The site's own past."""
    return History(config.state_dir / "history" / "history.db", clock)


def database_address(config: SiteConfig) -> Address | None:
    """Where the database is, with its token; None where there is none.

    Raises ConfigError when the token cannot be read.
    """
    section = config.file.telemetry
    if section is None:
        return None
    token = None if section.token_file is None else _token(config, section.token_file)
    return Address(
        url=section.url.rstrip("/"),
        bucket=section.bucket,
        org=section.org,
        token=token,
        timeout_s=section.timeout_s,
        spool_bytes_max=section.spool_mb * _MIB,
    )


def build_recorder(
    config: SiteConfig,
    clock: SiteClock,
    history: History,
    address: Address | None,
    site: Site,
    fleet: Fleet,
) -> Recorder:
    """Everything that records; without an address, the history alone."""
    known = {
        name: KnownMiner(
            miner=miner, feeder=site.feeder_of[miner.node_id], model=fleet.rows[name].model
        )
        for name, miner in fleet.miners.items()
    }
    return Recorder(
        clock,
        SiteSeries(site.site_id),
        MinerSeries(site.site_id, known),
        history,
        None if address is None else _outlet(config, clock, address),
    )


def _outlet(config: SiteConfig, clock: SiteClock, address: Address) -> Outlet:
    # InfluxDB's client takes half a second to import, which no other command should pay for.
    from controller.telemetry.influx import InfluxWriter  # noqa: PLC0415

    keeper = SpoolKeeper(spool_path(config), address.spool_bytes_max, clock)
    return Outlet(keeper, InfluxWriter(address), clock)


def _token(config: SiteConfig, file: Path) -> str:
    wrong = "must hold one token of printable ASCII characters, in one line"
    try:
        token = read_secret(config.folder / file).decode("ascii").strip()
        wrong = "" if token and token.isprintable() else wrong
    except SecretFileError as error:
        wrong = str(error)
    except UnicodeDecodeError:
        pass
    if wrong:
        raise ConfigError(
            [
                Problem(
                    file=config.path,
                    key="telemetry.token_file",
                    value=shown(str(file)),
                    mend=wrong,
                )
            ]
        )
    return token


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


_HISTORY = str(ReadHistory.__struct_config__.tag)


def with_history(history: History, acts: Handler) -> Handler:
    """A handler that answers questions for the past, one at a time, and leaves the rest to
    `acts`.
    """
    turn = asyncio.Lock()

    async def answer(body: bytes) -> bytes:
        try:
            kind = msgspec.msgpack.decode(body, type=_Kind).type
        except (msgspec.DecodeError, UnicodeDecodeError):
            kind = ""  # `acts` says what is wrong with it
        if kind != _HISTORY:
            return await acts(body)
        try:
            asked = msgspec.msgpack.decode(body, type=ReadHistory)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestRefused(f"not a known request: {error}") from None
        async with turn:
            try:
                page = await asyncio.to_thread(history.page, asked)
            except (HistoryUnanswered, StoreError) as error:
                raise RequestRefused(str(error)) from None
        return msgspec.msgpack.encode(page)

    return answer
