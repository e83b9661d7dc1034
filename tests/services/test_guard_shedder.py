"""What lies prepared, what leaves by a wave, and what goes through the driver instead."""

import asyncio
import threading

import pytest

from controller.channel.guard import Entry
from controller.guard.shedder import FRESH_S, PREPARE_MAX, PREPARE_REST_S, Shedder
from drivers.contract.commands import Applied, RefusalReason, Refused, Unconfirmed
from drivers.contract.errors import Unreachable
from tests.patience import until
from tests.services.guard_ground import LIFE_S, Clock, Prepared


class Wave:
    """Takes the place of the sockets: keeps what was sent, and answers as it is told."""

    def __init__(self):
        self.sent, self.threads, self.outcome = [], [], Applied()

    def __call__(self, frames, answered, stopped):
        assert not stopped()
        self.threads.append(threading.current_thread())
        frames = list(frames)
        self.sent += [frame.miner_id for frame in frames]
        for frame in frames:
            if isinstance(self.outcome, Exception):
                raise self.outcome
            answered(frame, self.outcome)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def wave():
    return Wave()


@pytest.fixture
async def shedder(wave, clock):
    made = Shedder(wave, clock)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.close()


def fleet(shedder, clock, count=3):
    miners = {f"m{n}": Prepared(f"m{n}", clock) for n in range(count)}
    shedder.take(miners, miners)
    return miners


def entries(miners):
    return [Entry(name, "10.0.0.1", "any", "any", {}, 3_000.0) for name in miners]


async def test_what_lies_prepared_leaves_by_one_wave_in_a_thread_of_its_own(shedder, wave, clock):
    miners = fleet(shedder, clock)
    await until(lambda: shedder.ready() == 3, "all are prepared")
    shedder.give(entries(miners))
    await until(lambda: shedder.asleep == 3, "all sleep")
    assert wave.sent == ["m0", "m1", "m2"]
    assert wave.threads != [threading.current_thread()]
    assert [miner.asked for miner in miners.values()] == [0, 0, 0]
    assert shedder.gone == miners.keys()


async def test_who_needs_two_requests_begins_first(shedder, wave, clock):
    miners = fleet(shedder, clock)
    miners["m2"].goes_on = True
    await until(lambda: shedder.ready() == 3, "all are prepared")
    shedder.give(entries(miners))
    await until(lambda: shedder.asleep == 3, "all sleep")
    assert wave.sent == ["m2", "m0", "m1"]


async def test_an_outcome_that_its_borrower_cannot_take_costs_no_other(shedder, clock):
    miners, told = fleet(shedder, clock), []
    await until(lambda: shedder.ready() == 3, "all are prepared")

    def tell(name, _outcome):
        told.append(name)
        if name == "m0":
            raise RuntimeError("a fault of ours")

    taken = shedder.lend({entry.miner_id: entry for entry in entries(miners)}, {}, tell)
    assert taken == ("m0", "m1", "m2")
    await until(lambda: len(told) == 3, "each is told")
    assert shedder.under_way == 0


async def test_a_login_that_did_not_hold_goes_through_the_driver(shedder, wave, clock):
    miners = fleet(shedder, clock, 1)
    await until(lambda: shedder.ready() == 1, "it is prepared")
    wave.outcome = Refused(reason=RefusalReason.UNAUTHORIZED, detail="stale")
    shedder.give(entries(miners))
    await until(lambda: shedder.asleep == 1, "it sleeps")
    assert miners["m0"].asked == 1


async def test_no_answer_is_a_failure_that_rests(shedder, wave, clock):
    miners = fleet(shedder, clock, 1)
    await until(lambda: shedder.ready() == 1, "it is prepared")
    wave.outcome = Unconfirmed(detail="sent; no answer")
    shedder.give(entries(miners))
    await until(lambda: shedder.failed == 1, "it failed")
    assert shedder.resting() == {"m0"}
    clock.now_s += 11.0
    assert shedder.resting() == set()
    assert shedder.gone == set()


async def test_a_frame_is_renewed_before_it_expires_and_an_expired_one_is_not_used(
    shedder, wave, clock
):
    miners = fleet(shedder, clock, 1)
    await until(lambda: shedder.ready() == 1, "it is prepared")
    clock.now_s += LIFE_S - FRESH_S + 0.1
    await until(lambda: miners["m0"].prepared == 2, "it is renewed")
    miners["m0"].says = Unreachable("m0", "prepare", "no route", connected=False)
    clock.now_s += LIFE_S
    assert shedder.ready() == 0
    shedder.give(entries(miners))
    await until(lambda: shedder.asleep == 1, "the driver did it")
    assert (wave.sent, miners["m0"].asked) == ([], 1)


async def test_one_that_moved_is_prepared_anew(shedder, clock):
    before = fleet(shedder, clock, 2)
    await until(lambda: shedder.ready() == 2, "both are prepared")
    moved = Prepared("m1", clock)
    moved.says = asyncio.Event()
    shedder.take({"m0": before["m0"], "m1": moved}, ["m0", "m1"])
    assert shedder.ready() == 1
    await until(lambda: moved.prepared == 1, "it is asked")
    moved.says.set()
    await until(lambda: shedder.ready() == 2, "and prepared")
    shedder.take({"m0": before["m0"]}, ["m0"])
    assert shedder.ready() == 1, "one that left the ladder is not kept"


async def test_those_that_hang_hold_no_place_for_ever(shedder, clock):
    miners = fleet(shedder, clock, PREPARE_MAX + 20)
    gate = asyncio.Event()
    hung = list(miners)[: PREPARE_MAX - 1]
    for name in hung:
        miners[name].says = gate
    await until(lambda: shedder.ready() == 21, "the others are prepared past those that hang")
    gate.set()
    await until(lambda: shedder.ready() == len(miners), "all are")


async def test_a_failure_rests_twice_as_long_each_time(shedder, clock):
    miners = fleet(shedder, clock, 1)
    miners["m0"].says = Unreachable("m0", "prepare", "no route", connected=False)
    await until(lambda: miners["m0"].prepared == 1, "it was tried")
    for rest_s in (PREPARE_REST_S, 2 * PREPARE_REST_S):
        tried = miners["m0"].prepared
        clock.now_s += rest_s - 1.0
        await asyncio.sleep(0.8)
        assert miners["m0"].prepared == tried
        clock.now_s += 1.1
        await until(lambda tried=tried: miners["m0"].prepared == tried + 1, "it is tried again")


async def test_one_that_hashes_on_is_shed_again(shedder, wave, clock):
    miners = fleet(shedder, clock, 2)
    await until(lambda: shedder.ready() == 2, "both are prepared")
    miners["m0"].hashing, miners["m1"].hashing = True, False
    shedder.give(entries(miners))
    await until(lambda: shedder.asleep == 2, "both said yes")
    clock.now_s += 31.0
    await until(lambda: shedder.gone == {"m1"}, "one was found to hash")
    assert shedder.failed == 1
    assert shedder.resting() == set(), "it is next, at once"


async def test_a_wave_that_fails_leaves_nobody_counted_as_off(shedder, wave, clock):
    miners = fleet(shedder, clock)
    await until(lambda: shedder.ready() == 3, "all are prepared")
    wave.outcome = RuntimeError("a fault of our own")
    shedder.give(entries(miners))
    await until(lambda: shedder.failed == 3, "all are tried again")
    assert shedder.gone == set()
