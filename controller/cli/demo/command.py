"""`naryn demo`: starts every process, shows the evening, judges it, and leaves nothing behind."""

import asyncio
import contextlib
import json as jsonlib
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.view import SiteImage
from controller.cli.demo.ground import PEAK_FROM_S, Ground, Timetable
from controller.cli.demo.interruptions import BROKER, DATABASE
from controller.cli.demo.ports import Ports
from controller.cli.demo.processes import Processes, ProcessFailed
from controller.cli.demo.stage import Stage
from controller.cli.demo.story import Evening, Record
from controller.cli.options import fail
from controller.cli.screen import render
from controller.config.load import SiteConfig

app = typer.Typer()

_STORY_S = 240.0
_SCRIPT = (
    (0.0, "the plant mines"),
    (10.0, "order: 40 % less within 25 s"),
    (45.0, "release: the load comes back by ramp"),
    (BROKER.at_s, "the broker is killed, and comes back"),
    (DATABASE.at_s, "the database is killed, and comes back"),
    (PEAK_FROM_S, "planned peak of 600 kW, to be arrived at on time"),
    (192.0, "an order too large: 10 kW, which must end FAILED with its shortfall"),
    (_STORY_S, "the script is over; Ctrl-C ends the demonstration"),
)
"""What the screen says of the script; the times are those of the scenario and its site."""
_NOTE = (
    "DEMONSTRATION: a simulated plant. Ramps are fast, least times short, blocks come every few "
    "seconds, and the peak window is put around the start; no clock is shifted."
)


def _script_line(gone_s: float) -> str:
    """What the script does now and next."""
    now = [said for at_s, said in _SCRIPT if at_s <= gone_s]
    coming = [(at_s, said) for at_s, said in _SCRIPT if at_s > gone_s]
    line = f"script {max(0.0, gone_s):3.0f} s: {now[-1] if now else 'getting ready'}"
    if coming:
        line += f"   → in {coming[0][0] - gone_s:.0f} s: {coming[0][1]}"
    return line


def _seconds(text: str) -> float:
    """Read 90, 90s or 4m."""
    scale = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
    number = text[:-1] if scale else text
    try:
        seconds = float(number) * (scale or 1.0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no duration; write 90s or 4m") from None
    if not 1.0 <= seconds <= 86_400.0:
        raise typer.BadParameter("must lie between 1 s and 24 h")
    return seconds


@app.command()
def demo(
    *,
    for_: Annotated[
        float | None,
        typer.Option(
            "--for",
            parser=_seconds,
            metavar="DURATION",
            help="End this long after the script began, e.g. 4m; without it, run until Ctrl-C.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print only the result, as JSON.")] = False,
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PORT", help="Move a service, e.g. console=9000; repeatable."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Use this new folder and keep it: state, keys, logs.")
    ] = None,
) -> None:
    """Run the whole simulated site on this machine, with a scripted evening."""
    ports = Ports.moved(port or [])
    if keep is not None and keep.exists():
        fail(f"{keep} exists; name a folder that does not", 2)
    folder = keep or Path(tempfile.mkdtemp(prefix="naryn-demo-"))
    folder.mkdir(mode=0o700, exist_ok=True)
    seconds = for_ if for_ is not None or not json else _STORY_S
    run = _Demo(Ground(folder=folder.absolute()), ports, seconds, quiet=json)
    status = 1
    try:
        status = asyncio.run(run.play())
    except (ProcessFailed, ChannelError) as error:
        print(f"{error}\nLogs: {folder}", file=sys.stderr)
        raise typer.Exit(1) from None
    if keep is None and status == 0:
        shutil.rmtree(folder)
    elif status != 0:
        print(f"Logs: {folder}", file=sys.stderr)
    raise typer.Exit(status)


class _Demo:
    """One run of the demonstration."""

    def __init__(self, ground: Ground, ports: Ports, seconds: float | None, *, quiet: bool) -> None:
        self._ground = ground
        self._ports = ports
        self._seconds = seconds
        self._quiet = quiet
        self._told = asyncio.Event()
        self._events_told: set[tuple[datetime, str, str]] = set()

    async def play(self) -> int:
        """Run it; the exit status: 0 all happened, 1 something did not, 130 ended by hand early."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)
        self._say(f"{_NOTE}\nFolder: {self._ground.folder}")
        async with Processes(self._ground.folder) as processes:
            stage = Stage(self._ground, self._ports, processes)
            begun = asyncio.create_task(stage.begin())
            if not await self._unless_told(begun):
                return 130
            config, timetable, miners = begun.result()
            self._say(f"{miners} simulated miners, 4 meters, 1 plant PLC, a chain, a pool")
            if stage.database is None:
                self._say("InfluxDB or nginx is not installed: no database, series stay here")
            self._say(f"The page: http://127.0.0.1:{self._ports.console}")
            story = Evening(
                record=Record(root="plant"),
                peak_from=timetable.peak_from,
                peak_until=timetable.peak_until,
            )
            finished = await self._show(stage, config, timetable, story)
            if not finished and self._seconds is None:
                self._say("ended before the script was over")
                return 130
            return await self._conclude(stage, config, story, finished=finished)

    async def _unless_told(self, task: "asyncio.Task[Any]") -> bool:
        told = asyncio.create_task(self._told.wait())
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if task.done():
            await task
            return True
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False

    async def _show(
        self, stage: Stage, config: SiteConfig, timetable: Timetable, story: Evening
    ) -> bool:
        """Follow the images until the time is over (True) or somebody ends it (False)."""
        wait_s = (timetable.start_at - datetime.now(UTC)).total_seconds()
        beside = [asyncio.ensure_future(act) for act in stage.run_script(max(0.0, wait_s))]
        zone = ZoneInfo(config.file.site.timezone)
        try:
            with self._screen() as live:
                async for image in self._images(config):
                    story.see(image, stage.truth_w())
                    gone_s = (datetime.now(UTC) - timetable.start_at).total_seconds()
                    self._show_image(live, image, gone_s, zone)
                    await stage.check()
                    for act in beside:
                        if act.done() and act.exception() is not None:
                            act.result()
                    if self._seconds is not None and gone_s >= self._seconds:
                        return True
                    if self._told.is_set():
                        return self._seconds is None and gone_s >= _STORY_S
        finally:
            for act in beside:
                act.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        return False

    def _show_image(
        self, live: Live | None, image: SiteImage, gone_s: float, zone: ZoneInfo
    ) -> None:
        if live is None:
            self._tell_events(image, zone)
            return
        note = Text(_NOTE, style="black on yellow")
        page = f"The page: http://127.0.0.1:{self._ports.console}"
        script = Text(f"{_script_line(gone_s)}\n{page}", style="bold")
        live.update(Group(note, script, render(image, zone)), refresh=True)

    def _screen(self) -> contextlib.AbstractContextManager[Live | None]:
        if self._quiet or not sys.stdout.isatty():
            return contextlib.nullcontext(None)
        return Live(screen=True, auto_refresh=False)

    async def _images(self, config: SiteConfig) -> AsyncIterator[SiteImage]:
        async with connect(config.channel_path) as client:
            async for body in client.images():
                yield msgspec.msgpack.decode(body, type=SiteImage)

    def _tell_events(self, image: SiteImage, zone: ZoneInfo) -> None:
        if self._quiet:
            return
        for event in image.events:
            key = (event.at, event.kind, event.text)
            if key not in self._events_told:
                self._events_told.add(key)
                print(
                    f"{event.at.astimezone(zone):%H:%M:%S}  {event.kind:14} {event.text}",
                    flush=True,
                )

    def _say(self, sentence: str) -> None:
        if not self._quiet:
            print(sentence, flush=True)

    async def _conclude(
        self, stage: Stage, config: SiteConfig, story: Evening, *, finished: bool
    ) -> int:
        summary = await stage.summary(config, story)
        if not finished:
            summary["missed"].append("ended by hand before the script was over")
        if self._quiet:
            print(jsonlib.dumps(summary, ensure_ascii=False))
        else:
            Console().print_json(data=summary)
        return 0 if finished and not summary["missed"] else 1
