"""`naryn demo`: starts every process, shows the evening, judges it, and leaves nothing behind."""

import asyncio
import contextlib
import json as jsonlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from controller.app.site import channel_path
from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.view import Arm, SiteImage
from controller.cli.demo.ground import (
    ISSUER,
    PEAK_FROM_S,
    Ground,
    Timetable,
    lay_inventory,
    lay_keys,
    lay_site,
    site_template,
)
from controller.cli.demo.processes import Child, Processes, ProcessFailed
from controller.cli.demo.story import Evening, Record
from controller.cli.options import ask, fail
from controller.cli.screen import render
from controller.config.load import SiteConfig

app = typer.Typer()

_SCENARIO = "evening"
_SITE_ID = "demo-hpp"
_WARM_UP_S = 14.0
"""From writing the configuration to the script: start, arm, first readings."""
_STORY_S = 240.0
_FOR_EVER_S = 86_400
_SCRIPT = (
    (0.0, "the plant mines"),
    (10.0, "order: 40 % less within 25 s"),
    (45.0, "release: the load comes back by ramp"),
    (PEAK_FROM_S, "planned peak of 600 kW, to be arrived at on time"),
    (192.0, "an order too large: 10 kW, which must end FAILED with its shortfall"),
    (_STORY_S, "the script is over; Ctrl-C ends the demonstration"),
)
"""What the screen says of the script; the times are those of the scenario and its site."""
_NOTE = (
    "DEMONSTRATION: a simulated plant. Ramps are fast, least times short, and the peak window is "
    "put around the start; no clock is shifted."
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
    broker_port: Annotated[int, typer.Option(min=1024, max=65535)] = 18830,
    http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where simulated miners serve HTTP.")
    ] = 8081,
    keep: Annotated[
        Path | None, typer.Option(help="Use this new folder and keep it: state, keys, logs.")
    ] = None,
) -> None:
    """Run the whole simulated site on this machine, with a scripted evening."""
    if keep is not None and keep.exists():
        fail(f"{keep} exists; name a folder that does not", 2)
    folder = keep or Path(tempfile.mkdtemp(prefix="naryn-demo-"))
    folder.mkdir(mode=0o700, exist_ok=True)
    seconds = for_ if for_ is not None or not json else _STORY_S
    run = _Demo(Ground(folder=folder.absolute()), broker_port, http_port, seconds, quiet=json)
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

    def __init__(
        self,
        ground: Ground,
        broker_port: int,
        http_port: int,
        seconds: float | None,
        *,
        quiet: bool,
    ) -> None:
        self._ground = ground
        self._broker_port = broker_port
        self._http_port = http_port
        self._seconds = seconds
        self._quiet = quiet
        self._receipts: dict[str, list[str]] = {}
        self._told = asyncio.Event()
        self._events_told: set[tuple[datetime, str, str]] = set()

    async def play(self) -> int:
        """Run it; the exit status: 0 all happened, 1 something did not, 130 ended by hand early."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)
        story: Evening | None = None
        finished = False
        async with Processes(self._ground.folder) as processes:
            begun = asyncio.create_task(self._begin(processes))
            if not await self._unless_told(begun):
                return 130
            config, timetable = begun.result()
            story = Evening(
                record=Record(root="plant"),
                peak_from=timetable.peak_from,
                peak_until=timetable.peak_until,
            )
            finished = await self._show(processes, config, timetable, story)
        return self._conclude(story, finished=finished)

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

    async def _begin(self, processes: Processes) -> tuple[SiteConfig, Timetable]:
        """Start broker, simulators, controller and dispatcher, and arm the feeders."""
        ground = self._ground
        self._say(f"{_NOTE}\nFolder: {ground.folder}")
        lay_keys(ground)
        port = str(self._broker_port)
        broker = await processes.start("broker", "controller.cli.demo.broker", "--port", port)
        moved = ("--port", f"http={self._http_port}")
        truth = ("--truth", str(ground.truth_file))
        plant = await processes.start("plant", "simulators", "serve", _SCENARIO, *moved, *truth)
        await processes.first_line(broker, 15.0)
        await processes.first_line(plant, 30.0)
        written_at = datetime.now(UTC)
        timetable = Timetable.after(written_at + timedelta(seconds=_WARM_UP_S))
        config = lay_site(ground, site_template(_SCENARIO), timetable, self._broker_port)
        miners = await lay_inventory(config, _SCENARIO, self._http_port)
        self._say(f"{miners} simulated miners, 4 meters, 1 plant PLC; starting the controller")
        await processes.start("controller", "controller.cli.main", "run", str(ground.site_file))
        await self._arm(processes, config)
        return config, timetable

    async def _arm(self, processes: Processes, config: SiteConfig) -> None:
        deadline_s = time.monotonic() + 20.0
        for feeder in ("north", "south"):
            while True:
                try:
                    await ask(config, Arm(node_id=feeder, without_watchdog=True, by="demo"))
                    break
                except ChannelError:
                    self._check(await self._ended(processes))
                    if time.monotonic() > deadline_s:
                        raise
                    await asyncio.sleep(0.2)

    async def _ended(self, processes: Processes) -> str | None:
        child = processes.ended()
        return None if child is None else await processes.last_words(child)

    @staticmethod
    def _check(words: str | None) -> None:
        if words is not None:
            raise ProcessFailed(words)

    async def _show(
        self, processes: Processes, config: SiteConfig, timetable: Timetable, story: Evening
    ) -> bool:
        """Follow the images until the time is over (True) or somebody ends it (False)."""
        wait_s = (timetable.start_at - datetime.now(UTC)).total_seconds()
        dispatcher = asyncio.create_task(self._dispatch(processes, max(0.0, wait_s)))
        zone = ZoneInfo(config.file.site.timezone)
        try:
            with self._screen() as live:
                async for image in self._images(config):
                    story.see(image, self._truth_w())
                    gone_s = (datetime.now(UTC) - timetable.start_at).total_seconds()
                    if live is not None:
                        note = Text(_NOTE, style="black on yellow")
                        script = Text(_script_line(gone_s), style="bold")
                        live.update(Group(note, script, render(image, zone)), refresh=True)
                    else:
                        self._tell_events(image, zone)
                    self._check(await self._ended(processes))
                    if dispatcher.done() and dispatcher.exception() is not None:
                        dispatcher.result()
                    if self._seconds is not None and gone_s >= self._seconds:
                        return True
                    if self._told.is_set():
                        return self._seconds is None and gone_s >= _STORY_S
        finally:
            dispatcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await dispatcher
        return False

    def _screen(self) -> contextlib.AbstractContextManager[Live | None]:
        if self._quiet or not sys.stdout.isatty():
            return contextlib.nullcontext(None)
        return Live(screen=True, auto_refresh=False)

    async def _images(self, config: SiteConfig) -> AsyncIterator[SiteImage]:
        async with connect(channel_path(config)) as client:
            async for body in client.images():
                yield msgspec.msgpack.decode(body, type=SiteImage)

    async def _dispatch(self, processes: Processes, wait_s: float) -> None:
        """Start the grid dispatcher and keep the stages of what the site told him."""
        ground = self._ground
        await asyncio.sleep(wait_s)
        child: Child = await processes.start(
            "dispatcher",
            "simulators.services.dispatcher",
            _SCENARIO,
            "--broker",
            f"127.0.0.1:{self._broker_port}",
            "--site",
            _SITE_ID,
            "--issuer",
            ISSUER,
            "--key",
            str(ground.key(f"{ISSUER}.pem")),
            "--site-key",
            str(ground.key("site.pub")),
            "--for-s",
            str(_FOR_EVER_S),
        )
        stream = child.process.stdout
        assert stream is not None, "started with a pipe"  # noqa: S101
        while line := await stream.readline():
            self._hear(jsonlib.loads(line))

    def _hear(self, said: dict[str, Any]) -> None:
        order = (said.get("of") or {}).get("order")
        if said.get("verified") and order is not None and "stage" in said:
            self._receipts.setdefault(order, []).append(said["stage"])

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

    def _truth_w(self) -> float | None:
        """The true mining load at the end, from the simulator's own record."""
        try:
            last = self._ground.truth_file.read_text().strip().splitlines()[-1]
        except (OSError, IndexError):
            return None
        power_w = jsonlib.loads(last).get("mining_w")
        return float(power_w) if power_w is not None else None

    def _conclude(self, story: Evening, *, finished: bool) -> int:
        if not finished and self._seconds is None:
            self._say("ended before the script was over")
            return 130
        summary = story.summary(self._receipts)
        if not finished:
            summary["missed"] = [*summary["missed"], "ended by hand before the script was over"]
        if self._quiet:
            print(jsonlib.dumps(summary, ensure_ascii=False))
        else:
            Console().print_json(data=summary)
        return 0 if finished and not summary["missed"] else 1
