"""The operator's commands against a site that answers, and against none."""

import asyncio
import json
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from controller.channel.frames import RequestRefused
from controller.channel.server import ChannelServer
from controller.channel.view import (
    Act,
    Arm,
    CapNode,
    Disarm,
    Done,
    ListMiners,
    MinerLine,
    MinersPage,
    SiteImage,
    Tag,
    UncapNode,
    Untag,
)
from controller.cli.main import app
from controller.cli.options import login_name
from tests.unit.cli.images import CURTAILED

SITE = """
[site]
id = "kambarata"
[control]
ramp_up_mw_per_min = 6
ramp_down_mw_per_min = 30
[[node]]
id = "plant"
kind = "plant"
rating_kw = 3000
[[node]]
id = "north"
kind = "feeder"
parent = "plant"
rating_kw = 500
meter = "north"
[[meter]]
id = "north"
map = "siemens-pac4200"
host = "127.0.0.1"
"""


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="naryn-cli-") as made:
        folder = Path(made)
        (folder / "site.toml").write_text(SITE)
        yield folder


def miner(number):
    return MinerLine(
        miner_id=f"north-{number:04}",
        host=f"10.0.0.{number % 250}",
        firmware="antminer-stock",
        model="Antminer S19 Pro",
        node_id="north",
        tier=1,
        state="running",
        why="[/red]\x1b[2J" if number == 3 else "",
        power_w=None if number == 2 else 3250.0,
        estimated=number != 2,
        hashrate_ths=None if number == 2 else 104.2,
        chip_temperature_c=None,
        age_s=None if number == 2 else 4.0,
        unreachable=number == 2,
        tag=None,
        persistent_writes=0,
    )


class Site:
    """Serves the channel of `folder`'s site from a thread; notes what it was asked."""

    def __init__(self, folder, *, miners=7):
        self.folder, self.asked = folder, []
        self.miners = [miner(number) for number in range(miners)]
        self._ready, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def answer(self, body):
        act = msgspec.msgpack.decode(body, type=Act)
        self.asked.append(act)
        if isinstance(act, ListMiners):
            page = self.miners[act.offset : act.offset + act.limit]
            return msgspec.msgpack.encode(MinersPage(total=len(self.miners), miners=page))
        if isinstance(act, Arm) and not act.without_watchdog:
            raise RequestRefused("north has no watchdog. Say --without-watchdog")
        return msgspec.msgpack.encode(Done(detail="done as asked"))

    async def _serve(self):
        path = self.folder / "state" / "run" / "site.sock"
        async with ChannelServer(path, self.answer) as server:
            self._ready.set()
            while not self._ended.is_set():
                server.publish(msgspec.msgpack.encode(CURTAILED))
                await asyncio.sleep(0.02)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def naryn(folder, *words):
    return CliRunner().invoke(app, [*words, "--site", str(folder / "site.toml")])


def test_status_shows_the_site(folder):
    with Site(folder):
        result = naryn(folder, "status")
    assert result.exit_code == 0
    assert "CURTAILED" in result.stdout
    assert "grid-2026-11-22-0007" in result.stdout


def test_status_json_is_the_image_and_unknown_is_null(folder):
    with Site(folder):
        result = naryn(folder, "status", "--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert msgspec.convert(shown, SiteImage) == CURTAILED
    assert shown["nodes"][0]["through_w"] is None
    assert shown["nodes"][0]["limit_w"] == 540e3


def test_miners_json_has_every_miner_of_every_page(folder):
    with Site(folder, miners=1203) as site:
        result = naryn(folder, "miners", "--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert [line["miner_id"] for line in shown] == [f"north-{n:04}" for n in range(1203)]
    assert shown[2]["power_w"] is None
    assert [act.offset for act in site.asked] == [0, 500, 1000]


def test_miners_in_a_terminal(folder):
    with Site(folder) as site:
        result = CliRunner().invoke(
            app,
            ["miners", "--state", "running", "--site", str(folder / "site.toml")],
            env={"COLUMNS": "160"},
        )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "unreachable" in lines[3]
    assert "—" in lines[3]
    assert "3.2 kW est." in lines[1]
    assert "[/red]?[2J" in lines[4], "a device's words are shown, not obeyed"
    assert site.asked == [
        ListMiners(by=login_name(), offset=0, limit=500, state="running"),
    ]


ACTS = {
    "arm": (
        ["arm", "north", "--without-watchdog"],
        Arm(node_id="north", without_watchdog=True, by=login_name()),
    ),
    "disarm": (["disarm", "north"], Disarm(node_id="north", by=login_name())),
    "cap": (
        ["cap", "plant", "812.5", "--reason", "repair"],
        CapNode(node_id="plant", cap_w=812_500.0, reason="repair", by=login_name()),
    ),
    "cap 0": (
        ["cap", "plant", "0", "--reason", "repair"],
        CapNode(node_id="plant", cap_w=0.0, reason="repair", by=login_name()),
    ),
    "uncap": (["uncap", "plant"], UncapNode(node_id="plant", by=login_name())),
    "tag": (
        ["tag", "north-0001", "--reason", "fan"],
        Tag(miner_id="north-0001", reason="fan", by=login_name()),
    ),
    "untag": (["untag", "north-0001"], Untag(miner_id="north-0001", by=login_name())),
}


@pytest.mark.parametrize(("words", "act"), ACTS.values(), ids=ACTS)
def test_acts_arrive_as_they_were_given(folder, words, act):
    with Site(folder) as site:
        result = naryn(folder, *words)
    assert (result.exit_code, result.stdout) == (0, "done as asked\n")
    assert site.asked == [act]


def test_a_refusal_is_a_sentence_and_status_1(folder):
    with Site(folder):
        result = naryn(folder, "arm", "north")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Say --without-watchdog" in result.stderr


@pytest.mark.parametrize(
    "words",
    [["status"], ["status", "--json"], ["top"], ["miners"], ["cap", "plant", "1", "--reason", "r"]],
    ids=" ".join,
)
def test_without_a_running_site_a_sentence_says_so(folder, words):
    result = naryn(folder, *words)
    assert result.exit_code == 1
    assert "naryn run" in result.stderr
    assert "Traceback" not in result.output


WRONG = {
    "no kilowatts": (
        ["cap", "plant", "many", "--reason", "r"],
        "'cap_kw': Input should be a valid number",
    ),
    "fewer than none": (
        ["cap", "plant", "--reason", "r", "--", "-5"],
        "greater than or equal to 0",
    ),
    "no reason": (["cap", "plant", "5"], "--reason"),
    "no miner": (["tag", "--reason", "r"], "Missing argument 'miner'"),
    "no such command": (["fly"], "fly"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_status_2_and_names_it(words, said):
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 2
    assert said in result.stderr


COMMANDS_OF_A_SITE = [
    ["status"],
    ["top"],
    ["miners"],
    ["arm", "north"],
    ["inventory", "export"],
]


@pytest.mark.parametrize("words", COMMANDS_OF_A_SITE, ids=lambda words: words[0])
def test_a_configuration_with_mistakes_is_status_2_with_all_of_them(folder, words):
    text = SITE.replace("rating_kw = 500", "rating_kw = -500").replace(
        '"plant"\nrating', '"x"\nrating'
    )
    (folder / "site.toml").write_text(text + "\n[poll]\nperiod = 3\n")
    result = naryn(folder, *words)
    assert result.exit_code == 2
    assert "rating_kw" in result.stderr
    assert "poll.period" in result.stderr
    assert str(folder / "site.toml") in result.stderr


def test_no_configuration_is_status_2(folder):
    result = CliRunner().invoke(app, ["status", "--site", str(folder / "none.toml")])
    assert result.exit_code == 2
    assert "none.toml" in result.stderr
    assert "No such file" in result.stderr


def config_check(folder):
    return CliRunner().invoke(app, ["config", "check", str(folder / "site.toml")])


def test_config_check_says_what_is_in_order(folder):
    result = config_check(folder)
    assert result.exit_code == 0
    assert "in order" in result.stdout
    assert "feeder north: 500 kW, meter north" in result.stdout


def test_config_check_names_keys_that_cannot_be_read(folder):
    (folder / "site.toml").write_text(
        SITE
        + '[dispatch]\nsite_key_file = "keys/site.pem"\nnode = "plant"\n'
        + '[[dispatch.key]]\nfile = "keys/ndc.pub"\nissuer = "ndc"\nroles = ["dispatch"]\n'
    )
    result = config_check(folder)
    assert result.exit_code == 2
    assert "dispatch.site_key_file" in result.stderr
    assert "dispatch.key[1].file" in result.stderr
    assert "naryn keys new" in result.stderr


CSV = "miner_id,host,firmware,make,model,feeder,rack,tier,ports\n"
GOOD = "n1,10.0.0.1,antminer-stock,Antminer,Antminer S19 Pro,north,,1,\n"


def imported(folder, text):
    (folder / "miners.csv").write_text(text)
    return naryn(folder, "inventory", "import", str(folder / "miners.csv"))


def test_inventory_in_and_out(folder):
    assert imported(folder, CSV + GOOD).stdout == "1 miners\n"
    result = naryn(folder, "inventory", "export")
    assert result.exit_code == 0
    assert "n1,10.0.0.1,antminer-stock" in result.stdout


BAD_ROWS = {
    "feeder": (GOOD.replace("north", "moon"), "feeders are north"),
    "model": (GOOD.replace("S19 Pro", "S99"), "S99"),
    "firmware": (GOOD.replace("antminer-stock", "hope"), "hope"),
    "twice": (GOOD + GOOD, "n1"),
}


@pytest.mark.parametrize(("rows", "said"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_inventory_is_status_2_and_changes_nothing(folder, rows, said):
    assert imported(folder, CSV + GOOD).exit_code == 0
    result = imported(folder, CSV + rows)
    assert result.exit_code == 2
    assert said in result.stderr
    assert naryn(folder, "inventory", "export").stdout.count("n1,") == 1


def test_a_file_that_is_no_csv(folder):
    (folder / "miners.csv").write_bytes(b"\xff\xfe\x00")
    result = naryn(folder, "inventory", "import", str(folder / "miners.csv"))
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr
    missing = naryn(folder, "inventory", "import", str(folder / "none.csv"))
    assert missing.exit_code == 2
    assert "cannot be read" in missing.stderr


def test_firmwares_and_models_are_listed():
    result = CliRunner().invoke(app, ["inventory", "firmwares"])
    assert result.exit_code == 0
    for word in ("antminer-stock", "whatsminer-v2", "luxos", "braiins", "Antminer S19 Pro"):
        assert word in result.stdout
