"""Two miners that babble count nowhere else, are well again after, and must really have babbled."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from controller.cli.bench import babble, command, poll
from controller.cli.bench.babble import BabbleError, Babblers, build_babblers
from controller.cli.bench.fleet import build_plant
from controller.cli.bench.polling import Ran, Watch, build_polled
from controller.site.poll import Polled
from drivers.contract.errors import Malformed
from drivers.profiles import load_catalogue

PERIOD_S = 5.0
PORTS = {"rpc": 4028, "http": 80, "grpc": 80}


class Deaf:
    """A transport that nobody answers; it keeps where it was to go."""

    def __init__(self):
        self.hosts = []

    async def exchange(self, endpoint, _request, **_limits):
        self.hosts.append(endpoint.host)
        raise Malformed(endpoint.device, "tcp", "garbage")


@pytest.fixture
async def fleet():
    """Forty miners; a tenth of each firmware hangs."""
    built = build_polled(build_plant(40, load_catalogue()), SimpleNamespace(ports=PORTS), 10.0)
    yield replace(built, wires=replace(built.wires, tcp=Deaf()))
    await built.http.close()


async def test_one_of_each_of_two_firmwares_is_asked_where_it_babbles(fleet):
    babblers = build_babblers(fleet, SimpleNamespace(ports=PORTS))
    assert {name: fleet.firmware_of[name] for name in babblers.ill} == {
        "m000000": "antminer-stock",
        "m000004": "whatsminer-v2",
    }
    assert babblers.well == {name: fleet.drivers[name] for name in babblers.ill}
    for driver in babblers.ill.values():
        with pytest.raises(Malformed):
            await driver.read()
    assert set(fleet.wires.tcp.hosts) == {"127.21.0.0", "127.33.0.0"}


async def test_who_hangs_is_not_asked_to_babble(fleet):
    hung = fleet.hung | {"m000000", "m000004"}
    babblers = build_babblers(replace(fleet, hung=hung), SimpleNamespace(ports=PORTS))
    assert list(babblers.ill) == ["m000001", "m000005"]


def test_they_babble_at_the_pace_of_an_order_and_are_well_again_whatever_happens():
    hastened, fleet = [], SimpleNamespace(drivers={"m1": "well 1", "m2": "well 2", "m3": "other"})
    babblers = Babblers(well={"m1": "well 1", "m2": "well 2"}, ill={"m1": "ill 1", "m2": "ill 2"})
    under_way = SimpleNamespace(poll=SimpleNamespace(hasten=lambda ids: hastened.append(set(ids))))

    def babble_and_break():
        with babble.babbling(fleet, babblers, under_way):
            assert fleet.drivers == {"m1": "ill 1", "m2": "ill 2", "m3": "other"}
            raise BabbleError

    with pytest.raises(BabbleError):
        babble_and_break()
    assert fleet.drivers == {"m1": "well 1", "m2": "well 2", "m3": "other"}
    assert hastened == [{"m1", "m2"}, set()]


def watch_of(fleet, ran):
    watch = Watch(fleet, 0.0, PERIOD_S, {"m000000", "m000004"})
    watch.ran = ran
    return watch


def read(watch, name, *, late_s=0.0, missed=0):
    now_s = time.monotonic()
    watch.ended(Polled(miner_id=name, due_s=now_s - late_s, begun_s=now_s, missed=missed))


async def test_babblers_count_neither_as_polls_nor_as_missed_nor_as_failed(fleet):
    ran = Ran()
    watch = watch_of(fleet, ran)
    for name in ("m000000", "m000000", "m000004"):
        read(watch, name, late_s=3 * PERIOD_S, missed=1)
    read(watch, "m000000", late_s=3 * PERIOD_S)
    assert (ran.polls, ran.missed, ran.failed, ran.late_ms) == (0, 0, 0, [])
    assert ran.babbled == {"m000000": 2, "m000004": 1}


async def test_all_others_count_as_ever_but_in_measured_time_only(fleet):
    ran, hangs = Ran(), min(fleet.hung)
    watch = watch_of(fleet, None)
    read(watch, "m000001")
    watch.ran = ran
    read(watch, "m000001", late_s=2.5 * PERIOD_S)
    read(watch, "m000002", missed=1)
    read(watch, hangs, missed=1)
    assert (ran.polls, ran.missed, ran.failed, ran.timeouts) == (1, 2, 1, 1)
    assert not ran.babbled
    never_read = len(fleet.drivers) - len(fleet.hung) - 2 - 2
    assert watch.overdue(time.monotonic()) == never_read, "babblers are not waited for"


async def test_a_slice_without_a_word_of_one_of_them_is_an_error(monkeypatch):
    monkeypatch.setattr(babble, "_ASKED_S_MAX", 0.0)
    babblers = Babblers(well={}, ill={"m1": "ill", "m2": "ill"})
    ran = Ran()
    ran.babbled.update({"m1": 1, "m2": 1})  # in an earlier slice
    with pytest.raises(BabbleError, match="m1 and m2 did not babble within 0 s"):
        await babble.babbled(babblers, ran, 0.0, 0.0)


async def test_a_slice_lasts_until_both_have_babbled(monkeypatch):
    steps, ran = [], Ran()

    async def until(condition, _longest_s):
        while not condition():
            name = ("m1", "m2")[len(steps)]
            steps.append(name)
            ran.babbled[name] += 1

    monkeypatch.setattr(babble, "until", until)
    await babble.babbled(Babblers(well={}, ill={"m1": "ill", "m2": "ill"}), ran, 0.0, 0.0)
    assert steps == ["m1", "m2"]


def test_a_peer_that_was_not_asked_is_an_error():
    babble.prove(Ran(asked_garbage=1, asked_huge=1))
    with pytest.raises(BabbleError, match="never asked for garbage"):
        babble.prove(Ran(asked_huge=3))
    with pytest.raises(BabbleError, match="never asked for 10 MB"):
        babble.prove(Ran(asked_garbage=3))


def test_it_is_a_sentence_and_status_1_without_figures(monkeypatch):
    def fails(*_words):
        raise BabbleError("m1 did not babble")

    monkeypatch.setattr(command.poll_bench, "measure", fails)
    ran = CliRunner().invoke(command.app, ["poll"])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "bench poll: m1 did not babble" in ran.stderr


def assembled(babble_us, **changed):
    found = dict.fromkeys(poll.GOALS, 0.0) | {"flat_us_per_poll": {"all": 100.0}}
    found |= {"miners": 10_000, "period_s": 5.0, "seconds": 60.0, "polls": 9, "babble_polls": 9}
    found |= {"cpu_us_per_poll": 200.0, "babble_cpu_us_per_poll": babble_us} | changed
    del found["babble_to_well"]
    return poll.assemble(found, {"all": {"cpu_us_per_poll": 50.0, "busy_percent": 99.0}}, {})


@pytest.mark.parametrize(("babble_us", "met"), [(190.0, True), (210.0, True), (210.3, False)])
def test_at_most_a_twentieth_dearer(babble_us, met):
    result = assembled(babble_us)
    assert result["ratios"]["babble_to_well"] == pytest.approx(babble_us / 200.0, abs=1e-3)
    assert result["met"]["babble_to_well"] is met


@pytest.mark.parametrize("nobody", ["polls", "babble_polls"])
def test_without_polls_there_is_no_ratio_and_nothing_is_met(nobody):
    result = assembled(200.0, **{nobody: 0})
    assert "babble_to_well" not in result["ratios"]
    assert result["met"]["babble_to_well"] is None
