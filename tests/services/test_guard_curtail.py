"""Sleeps that a controller hands to its guard, over a real channel: who takes them, who is told."""

import asyncio
from dataclasses import replace

import pytest

from controller.channel.curtail import CURTAIL_MINERS_MAX, Collect, Curtail, Outcomes, Taken
from controller.channel.frames import RequestRefused
from controller.channel.guard import Entry, Ladder, Look, Shed, TakeOver
from controller.guard.shedder import LENT_S
from drivers.contract.commands import AlreadySo, Applied, RefusalReason, Refused, Unconfirmed
from tests.patience import until
from tests.services.guard_ground import LIFE_S, HeldWave, Prepared, opened, settled

MINERS = 3


@pytest.fixture
async def bench(tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("g")) as made:
        made.send = HeldWave()
        made.new_miner = lambda name: Prepared(name, made.clock)
        preparing = asyncio.create_task(made.shedder.run())
        await made.give(ladder_of(MINERS))
        await until(lambda: made.shedder.ready() == MINERS, "all are prepared")
        yield made
        preparing.cancel()
        await asyncio.gather(preparing, return_exceptions=True)
        made.send.may_begin.set()
        made.send.may_answer.set()


def ladder_of(count, epoch="one"):
    entries = tuple(Entry(f"m{n}", "10.0.0.1", "any", "any", {}, 3_000.0) for n in range(count))
    return Ladder(site_id="toy", epoch=epoch, floor_w=100.0, entries=entries)


async def curtail(bench, *names, epoch="one", number=1, within_s=0.25, changed_s=None):
    ask = Curtail(
        site_id="toy",
        epoch=epoch,
        number=number,
        until_s=bench.clock.now_s + within_s,
        miner_ids=names,
        changed_s=changed_s or {},
    )
    return (await bench.ask(ask, Taken)).miner_ids


async def collect(bench, epoch="one"):
    return await bench.ask(Collect(site_id="toy", epoch=epoch), Outcomes)


async def collected(bench):
    """Every outcome, once none is left."""
    lines = []
    for _ in range(200):
        page = await collect(bench)
        lines += page.lines
        if not page.left:
            return [(line.number, line.miner_id, line.outcome()) for line in lines]
        await asyncio.sleep(0.01)
    pytest.fail("outcomes never came")


async def test_they_leave_by_the_wave_and_their_outcomes_are_told_once(bench):
    assert await curtail(bench, "m0", "m1", number=7) == ("m0", "m1")
    applied = Applied(persistent_writes=1)
    assert await collected(bench) == [(7, "m0", applied), (7, "m1", applied)]
    assert await collected(bench) == []
    assert [frame.miner_id for frame in bench.send.sent] == ["m0", "m1"]
    assert [miner.asked for miner in bench.miners.values()] == [0, 0, 0]
    image = await bench.ask(Look(site_id="toy"))
    assert (image.curtailed, image.curtailing, image.asleep, image.untaken) == (2, 0, 0, 0)


async def test_what_is_not_ready_is_not_taken(bench):
    bench.send.may_answer.clear()
    assert await curtail(bench, "m0") == ("m0",)
    assert await curtail(bench, "m0", "m1", "m1", "stranger") == ("m1",), "m0 is under way"
    bench.send.may_answer.set()
    await collected(bench)
    assert await curtail(bench, "m0") == (), "its command was used, and it rests"
    bench.clock.now_s += 120.0
    await bench.beat()
    assert await curtail(bench, "m2") == (), "an expired command is none"


async def test_a_request_that_stood_in_the_queue_too_long_is_not_taken(bench):
    assert await curtail(bench, "m0", within_s=-0.001) == ()
    assert bench.send.sent == []


async def test_a_wave_that_stood_still_does_not_send_what_is_late(bench):
    bench.send.may_begin.clear()
    assert await curtail(bench, "m0") == ("m0",)
    bench.clock.now_s += LENT_S + 1.0
    bench.send.may_begin.set()
    await until(lambda: bench.send.sent, "it goes on")
    assert bench.send.sent[0].valid_until_s < bench.clock.now_s, "the sockets refuse it"


async def test_a_configuration_older_than_the_miners_own_is_not_written_back(bench):
    read_s = bench.clock.now_s
    for name, miner_read_s in (("m0", read_s), ("m1", read_s), ("m2", None)):
        frame = bench.shedder._frames[name]
        bench.shedder._frames[name] = replace(frame, read_s=miner_read_s)
    changed_s = {"m0": read_s + 0.1, "m1": read_s - 0.1, "m2": read_s + 0.1}
    taken = await curtail(bench, "m0", "m1", "m2", changed_s=changed_s)
    assert taken == ("m1", "m2"), "m2 writes no configuration back"


async def test_too_many_in_one_request_are_refused(bench):
    names = tuple(f"m{number}" for number in range(CURTAIL_MINERS_MAX + 1))
    with pytest.raises(RequestRefused, match="more than 10000 miners"):
        await curtail(bench, *names)


async def test_a_second_controller_is_refused_and_one_without_a_ladder_is_given_nothing(bench):
    with pytest.raises(RequestRefused, match="another controller is in charge"):
        await curtail(bench, "m0", epoch="two")
    with pytest.raises(RequestRefused, match="another controller is in charge"):
        await collect(bench, "two")
    bench.clock.now_s += 3.1
    assert await curtail(bench, "m0", epoch="two") == (), "the ladder is the other's"
    assert bench.send.sent == []
    with pytest.raises(RequestRefused, match="another controller is in charge"):
        await collect(bench, "one")


@pytest.mark.parametrize(
    "outcome",
    [
        Refused(reason=RefusalReason.UNAUTHORIZED, detail="stale"),
        Refused(reason=RefusalReason.UNREACHABLE, detail="no route"),
        Unconfirmed(detail="sent; no answer"),
    ],
    ids=str,
)
async def test_what_fails_is_told_and_left_to_the_controller(bench, outcome):
    bench.send.outcome = outcome
    await curtail(bench, "m0")
    assert await collected(bench) == [(1, "m0", outcome)]
    await settled(bench)
    assert bench.miners["m0"].asked == 0
    assert (await bench.ask(Look(site_id="toy"))).failed == 0


async def test_asking_for_outcomes_is_no_sign_of_life(bench):
    bench.clock.now_s += 19.0
    await collect(bench)
    bench.clock.now_s += 1.1
    await settled(bench)
    assert (await bench.ask(Look(site_id="toy"))).latch is not None


async def test_a_trip_takes_over_what_is_under_way_and_a_latched_guard_takes_no_more(bench):
    bench.send.may_answer.clear()
    await curtail(bench, "m0", "m1")
    bench.clock.now_s += 20.1
    bench.guard.step()
    await until(lambda: bench.miners["m2"].asked or len(bench.send.sent) == 3, "the third is shed")
    with pytest.raises(RequestRefused, match="the latch has tripped"):
        await curtail(bench, "m0")
    assert await collected(bench) == [], "they are the guard's now"
    bench.send.may_answer.set()
    await until(lambda: bench.shedder.asleep == 3, "all sleep")
    await settled(bench)
    sent = [frame.miner_id for frame in bench.send.sent]
    asked = [name for name, miner in bench.miners.items() if miner.asked]
    assert sorted(sent + asked) == ["m0", "m1", "m2"], "nobody is commanded twice"
    assert (await bench.ask(TakeOver(site_id="toy", epoch="one", offset=0), Shed)).count == 3


@pytest.mark.parametrize("slept", [Applied(), AlreadySo()], ids=str)
async def test_a_trip_takes_over_sleepers_that_the_controller_does_not_know_of(bench, slept):
    bench.send.outcome = slept
    await curtail(bench, "m0")
    await until(lambda: not bench.shedder.under_way, "it sleeps")
    bench.miners["m0"].hashing = False
    bench.clock.now_s += 20.1
    await settled(bench)
    assert bench.shedder.asleep == 3
    await asyncio.sleep(0.8)  # it is read meanwhile
    await settled(bench)
    assert bench.miners["m0"].asked == 0, "it sleeps, so it is left alone"


async def test_a_trip_finds_out_at_once_who_was_woken_all_the_same(bench):
    await curtail(bench, "m0")
    await until(lambda: not bench.shedder.under_way, "it sleeps")
    bench.clock.now_s += 20.1
    await settled(bench)
    await until(lambda: "m0" not in bench.shedder.gone, "it is found to hash")
    await settled(bench)
    assert bench.miners["m0"].asked == 1


async def test_a_new_controller_is_told_nothing_of_the_last_ones(bench):
    await curtail(bench, "m0")
    await until(lambda: not bench.shedder.under_way, "it sleeps")
    bench.clock.now_s += 3.1
    await bench.beat("two")
    assert (await collect(bench, "two")) == Outcomes(lines=(), left=0)


async def test_nobody_is_prepared_while_commands_leave(bench):
    bench.send.may_begin.clear()
    await curtail(bench, "m0")
    bench.clock.now_s += LIFE_S
    await asyncio.sleep(0.8)
    assert bench.miners["m1"].prepared == 1
    bench.send.may_begin.set()
    await until(lambda: bench.miners["m1"].prepared == 2, "it is prepared when they have left")
