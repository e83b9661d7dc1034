"""`naryn inventory`: the miners of a site, as CSV in and out. The site must not be running."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from controller.app.fleet import build_fleet
from controller.app.inventory import store_inventory, stored_inventory
from controller.cli.options import SITE_FILE, SiteOption, fail, load_site
from controller.config.inventory import read_csv, write_csv
from controller.config.load import build_site
from controller.config.problems import ConfigError
from controller.site.journal_schema import JournalError
from controller.site.lock import SiteLockError
from drivers.profiles import load_catalogue
from drivers.registry import MINERS

app = typer.Typer(no_args_is_help=True, help="The miners of a site, as CSV in and out.")

_BYTES_MAX = 32 * 1024 * 1024


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with one row a miner.")],
    site: SiteOption = SITE_FILE,
) -> None:
    """Replace the inventory by a CSV file. Nothing is taken of a file with a mistake."""
    config = load_site(site)
    try:
        raw = file.read_bytes()
        if len(raw) > _BYTES_MAX:
            fail(f"{file}: larger than {_BYTES_MAX} bytes; is this the right file?", 2)
        rows = read_csv(raw.decode("utf-8-sig"), file, MINERS)
        fleet = build_fleet(rows, config, load_catalogue())
        build_site(config, dict(fleet.miners))
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", 2)
    except UnicodeDecodeError as error:
        fail(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8", 2)
    except ConfigError as error:
        fail(str(error), 2)
    try:
        asyncio.run(store_inventory(config, rows))
    except (SiteLockError, JournalError) as error:
        fail(str(error))
    print(f"{len(rows)} miners")


@app.command()
def export(site: SiteOption = SITE_FILE) -> None:
    """Print the inventory as CSV, in the form that `import` takes."""
    config = load_site(site)
    try:
        rows = stored_inventory(config)
    except (SiteLockError, JournalError) as error:
        fail(str(error))
    print(write_csv(rows), end="")


@app.command()
def firmwares() -> None:
    """List the firmwares that a driver speaks, and the models with a nameplate."""
    catalogue = load_catalogue()
    for name in sorted(MINERS):
        profile = catalogue.profiles.get(name)
        said = "" if profile is None else ("reports power" if profile.reports_power else "no power")
        print(f"{name:16} {said}")
    print()
    for model in sorted(catalogue.models.values(), key=lambda m: m.model):
        print(
            f"{model.model:22} {model.rated_hashrate_ths:7.1f} TH/s"
            f" {model.rated_power_w:7.0f} W {model.efficiency_jth:5.1f} J/TH"
        )
