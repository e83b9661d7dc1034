"""`naryn telemetry`: whether what was measured reached the database."""

import asyncio
import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from controller.app.telemetry import database_address, spool_path
from controller.cli.options import SITE_FILE, JsonOption, fail, load_site
from controller.config.problems import ConfigError
from controller.telemetry.readback import Audit, AuditError
from controller.telemetry.readback import audit as read_back
from controller.telemetry.store import StoreError

app = typer.Typer(no_args_is_help=True, help="What was measured, on its way into the database.")


@app.callback()
def telemetry() -> None:
    """The measurements and the way they go are in docs/telemetry.md."""


@app.command()
def audit(
    site: Annotated[Path, typer.Argument(help="The site's configuration file.")] = SITE_FILE,
    *,
    newest: Annotated[
        int | None,
        typer.Option(min=1, help="Only the newest N lines: where a policy forgets the older ones."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read the database back and count the lines that are lost; exit status 1 when any is."""
    config = load_site(site)
    try:
        address = database_address(config)
        if address is None:
            fail(f"{config.path}: has no [telemetry], so nothing is written to a database", 2)
        found = asyncio.run(read_back(spool_path(config), address, config.file.site.id, newest))
    except ConfigError as error:
        fail(str(error), 2)
    except (AuditError, StoreError) as error:
        fail(str(error))
    print(jsonlib.dumps(asdict(found)) if json else _told(found))
    if found.lost:
        raise typer.Exit(1)


def _told(found: Audit) -> str:
    meanings = {
        "written": "lines committed to the spool",
        "found": "of them are in the database",
        "lost": "are nowhere",
        "waiting": "wait in the spool",
        "dropped": "were dropped, because the spool was full",
        "rejected": "were refused by the database and put aside",
        "unrecorded": "never reached the spool, because its disk was behind",
    }
    counts = asdict(found)
    width = max(len(str(count)) for count in counts.values())
    return "\n".join(f"{counts[name]:>{width}}  {said}" for name, said in meanings.items())
