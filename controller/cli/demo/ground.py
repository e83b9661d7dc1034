"""Lays a demonstration site into a folder: keys, configuration, inventory."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Self
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.app.inventory import store_inventory
from controller.config.inventory import read_csv
from controller.config.load import SiteConfig, load
from controller.dispatch.secret_files import write_secret
from controller.signing import SigningKey, private_pem, public_pem
from drivers.registry import MINERS

ISSUER = "dispatcher"
PEAK_FROM_S, PEAK_UNTIL_S = 172.0, 600.0
"""The planned peak, counted from the begin of the script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """When the scripted evening begins, and its planned peak. UTC."""

    start_at: datetime
    peak_from: datetime
    peak_until: datetime

    @classmethod
    def after(cls, at: datetime) -> Self:
        """The evening that begins at the next whole second: windows are written in seconds."""
        start = (at + timedelta(microseconds=999_999)).replace(microsecond=0)
        return cls(
            start_at=start,
            peak_from=start + timedelta(seconds=PEAK_FROM_S),
            peak_until=start + timedelta(seconds=PEAK_UNTIL_S),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The folder of a demonstration."""

    folder: Path

    @property
    def site_file(self) -> Path:
        """Its `site.toml`."""
        return self.folder / "site.toml"

    @property
    def truth_file(self) -> Path:
        """Where the simulator writes what is really so."""
        return self.folder / "truth.jsonl"

    def key(self, name: str) -> Path:
        """A key file by name: `site.pem`, `site.pub`, `dispatcher.pem`, `dispatcher.pub`."""
        return self.folder / "keys" / name


def lay_keys(ground: Ground, secret: Mapping[str, Ed25519PrivateKey] | None = None) -> None:
    """Write the site's and the dispatcher's keys, new ones where none are given."""
    (ground.folder / "keys").mkdir(mode=0o700)
    for name in ("site", ISSUER):
        private = Ed25519PrivateKey.generate() if secret is None else secret[name]
        key = SigningKey.of(private)
        write_secret(ground.key(f"{name}.pem"), private_pem(key))
        ground.key(f"{name}.pub").write_bytes(public_pem(key.public_bytes))


def site_template(scenario: str) -> str:
    """The shipped `site.toml` of a scenario, with places for ports and the peak's times."""
    return (files("controller.cli.demo") / f"{scenario}.site.toml").read_text("utf-8")


def lay_site(ground: Ground, template: str, timetable: Timetable, broker_port: int) -> SiteConfig:
    """Write `site.toml` with the planned peak where the timetable wants it. Local times."""
    zone = ZoneInfo("Asia/Bishkek")
    text = Template(template).substitute(
        broker_port=broker_port,
        window_from=_local(timetable.peak_from, zone),
        window_until=_local(timetable.peak_until, zone),
    )
    ground.site_file.write_text(text, "utf-8")
    return load(ground.site_file)


def _local(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%H:%M:%S")


async def lay_inventory(config: SiteConfig, scenario: str, http_port: int) -> int:
    """Fill the journal with the scenario's fleet; returns how many miners there are."""
    command = [sys.executable, "-m", "simulators", "inventory", scenario, "--port"]
    listing = await asyncio.to_thread(
        subprocess.run,
        [*command, f"http={http_port}"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = read_csv(listing.stdout, Path("the simulated fleet"), MINERS)
    await store_inventory(config, rows)
    return len(rows)
