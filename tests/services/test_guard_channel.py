"""Controller and guard over a real channel, in one loop: who is obeyed, and what is taken."""

import msgspec
import pytest

from controller.channel.client import connect
from controller.channel.frames import RequestRefused
from controller.channel.guard import (
    LADDER_PART_ENTRIES,
    Entry,
    Ladder,
    Look,
    Release,
    Shed,
    TakeOver,
    ladder_sha256,
)
from controller.guard.heartbeat import Heartbeat
from controller.guard.store import VERSION, Store
from controller.power.site import FailsafeCurve
from drivers.contract.commands import Applied, RefusalReason, Refused
from drivers.transport.ports import Endpoint
from tests.services.guard_ground import CURVE, opened, settled


@pytest.fixture
async def bench(tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("g")) as made:
        yield made


def ladder_of(count, epoch="one", firmware="any"):
    entries = tuple(
        Entry(f"m{n}", "10.0.0.1", firmware, "any", {}, 3_000.0, raw_mode="0") for n in range(count)
    )
    return Ladder(site_id="toy", epoch=epoch, floor_w=100.0, entries=entries)


async def test_a_ladder_comes_in_parts_and_is_found_again(bench):
    ladder = ladder_of(2 * LADDER_PART_ENTRIES + 1)
    wanted = await bench.beat(ladder=ladder_sha256(ladder))
    assert wanted.ladder_wanted
    assert "no ladder" in wanted.alarms[0]
    image = await bench.give(ladder)
    assert (image.entries, image.ladder_wanted, image.alarms) == (len(ladder.entries), False, ())
    assert image.load_w == ladder.load_w
    assert not (await bench.beat(ladder=ladder_sha256(ladder))).ladder_wanted
    bench.new_guard()
    image = await bench.ask(Look(site_id="toy"))
    assert image.ladder == ladder_sha256(ladder)
    assert image.heard_ago_s is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "digest does not fit"),
        ({"part": 1, "parts": 2}, "begin with part 0"),
        ({"parts": 1_000}, "come in order"),
        ({"site_id": "other"}, "this guard is of site 'toy'"),
    ],
)
async def test_a_ladder_that_does_not_fit_is_refused(bench, changes, said):
    with pytest.raises(RequestRefused, match=said):
        await bench.give(ladder_of(3), **changes)
    assert (await bench.ask(Look(site_id="toy"))).entries == 0


async def test_words_of_another_version_are_refused(bench):
    async with connect(bench.path) as client:
        for words in ({"type": "rumour"}, {"type": "beat", "site_id": "toy", "more": 1}, 7):
            with pytest.raises(RequestRefused, match="not understood"):
                await client.request(msgspec.msgpack.encode(words), 5.0)


async def test_of_two_controllers_one_is_obeyed_and_the_other_refused_and_alarmed(bench):
    await bench.beat("one")
    with pytest.raises(RequestRefused, match="another controller is in charge"):
        await bench.beat("two")
    with pytest.raises(RequestRefused, match="another controller is in charge"):
        await bench.give(ladder_of(3, "two"), "two")
    image = await bench.beat("one")
    assert image.epoch == "one"
    assert "another controller" in image.alarms[0]
    assert image.entries == 0
    bench.clock.now_s += 3.1
    assert (await bench.beat("two")).epoch == "two"
    bench.clock.now_s += 60.0
    assert "another controller" not in " ".join((await bench.beat("two")).alarms)


async def test_silence_sheds_the_ladder_and_a_person_ends_it_after_the_hand_over(bench):
    await bench.give(ladder_of(3))
    bench.clock.now_s += 20.0
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [0, 0, 0]
    bench.clock.now_s += 0.1
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [1, 1, 1]
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [1, 1, 1], "once is enough"
    release = Release(site_id="toy", by="anna")
    with pytest.raises(RequestRefused, match="the controller is still silent"):
        await bench.ask(release)
    image = await bench.beat("two")
    assert (image.latch.start_w, image.latch.limit_w, image.asleep) == (9_100.0, 0.0, 3)
    with pytest.raises(RequestRefused, match="has not taken over 3 sleeping miners yet"):
        await bench.ask(release)
    shed = await bench.ask(TakeOver(site_id="toy", epoch="two", offset=0), Shed)
    assert [(e.miner_id, e.raw_mode) for e in shed.entries] == [(f"m{n}", "0") for n in range(3)]
    image = await bench.ask(release)
    assert (image.latch, image.asleep) == (None, 0)
    with pytest.raises(RequestRefused, match="nothing is latched"):
        await bench.ask(release)
    bench.new_guard()
    assert (await bench.ask(Look(site_id="toy"))).latch is None


async def test_one_that_refuses_is_tried_again_and_made_up_for(bench):
    bench.guard._curve = FailsafeCurve(hold_s=20.0, decay_s=0.0, value_w=6_100.0)
    await bench.give(ladder_of(3))
    bench.miners["m0"].outcome = Refused(reason=RefusalReason.BUSY, detail="busy")
    bench.clock.now_s += 20.1
    await settled(bench)
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [1, 1, 0]
    image = await bench.ask(Look(site_id="toy"))
    assert (image.asleep, image.failed) == (1, 1)
    bench.guard._curve = CURVE
    bench.clock.now_s += 10.1
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [2, 1, 1]


async def test_a_latch_outlives_its_process_and_damage_counts_as_latched(bench):
    await bench.give(ladder_of(2))
    bench.clock.now_s += 21.0
    await settled(bench)
    bench.new_guard()
    assert (await bench.ask(Look(site_id="toy"))).latch.limit_w == 0.0
    newer = msgspec.msgpack.encode({"version": VERSION + 1})
    for body in (b"", b"nonsense", newer):
        (bench.folder / "guard" / "latch").write_bytes(body)
        bench.new_guard()
        image = await bench.ask(Look(site_id="toy"))
        assert image.latch is not None
        assert "the guard stays latched" in " ".join(image.alarms)


async def test_a_damaged_ladder_is_alarmed_and_replaced(bench):
    ladder = ladder_of(2)
    await bench.give(ladder)
    (bench.folder / "guard" / "ladder").write_bytes(b"nonsense")
    bench.new_guard()
    image = await bench.beat(ladder=ladder_sha256(ladder))
    assert image.ladder_wanted
    assert any("is damaged" in alarm for alarm in image.alarms)
    assert (await bench.give(ladder)).alarms == ()


async def test_without_a_controller_at_start_the_last_ladder_is_walked(bench):
    await bench.give(ladder_of(2))
    bench.new_guard()
    bench.clock.now_s += 20.1
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [1, 1]


async def test_without_a_ladder_it_waits_and_says_so(bench):
    bench.clock.now_s += 1_000.0
    await settled(bench)
    image = await bench.ask(Look(site_id="toy"))
    assert image.latch is None
    assert "no ladder" in image.alarms[0]


async def test_miners_that_it_cannot_command_are_counted(bench):
    image = await bench.give(ladder_of(2, firmware="pyasic"))
    assert image.uncovered == 2
    assert image.alarms == ("2 miners can be commanded by the controller alone",)


async def test_others_go_for_miners_that_it_cannot_command(bench):
    foreign = ladder_of(1, firmware="pyasic")
    others = tuple(
        msgspec.structs.replace(e, miner_id=f"n{e.miner_id}") for e in ladder_of(2).entries
    )
    bench.guard._curve = FailsafeCurve(hold_s=20.0, decay_s=0.0, value_w=6_100.0)
    await bench.give(msgspec.structs.replace(foreign, entries=foreign.entries + others))
    bench.clock.now_s += 20.1
    await settled(bench)
    assert [miner.asked for miner in bench.miners.values()] == [1, 0]


async def test_a_sleeper_that_takes_anothers_place_is_taken_over_too(bench):
    bench.guard._curve = FailsafeCurve(hold_s=20.0, decay_s=0.0, value_w=6_100.0)
    await bench.give(ladder_of(3))
    bench.clock.now_s += 20.1
    await settled(bench)
    await bench.ask(TakeOver(site_id="toy", epoch="one", offset=0), Shed)
    assert (await bench.beat()).untaken == 0
    bench.miners["m0"].outcome = Refused(reason=RefusalReason.BUSY, detail="busy")
    del bench.shedder._asleep["m0"]  # as when it is found to hash
    await settled(bench)
    await settled(bench)
    image = await bench.beat()
    assert (image.asleep, image.untaken) == (1, 1), "as many as before, but another one"


@pytest.fixture
def relay(bench):
    """Why the relay gets no beat after so much time, and a look."""
    bench.heartbeat = Heartbeat(
        None,
        Endpoint(device="relay", host="127.0.0.1", port=502),
        unit_id=1,
        coil=1,
        period_s=1.0,
        grace_s=30.0,
        clock=bench.clock,
    )
    bench.new_guard()

    async def still(after_s=0.0):
        bench.clock.now_s += after_s
        await settled(bench)
        bench.guard.step()  # by what was answered
        return (await bench.ask(Look(site_id="toy"))).relay.still

    return still


async def test_beats_stop_when_miners_draw_too_much_for_too_long(bench, relay):
    assert "there is no ladder" in await relay()
    await bench.give(ladder_of(3))
    bench.miners["m1"].outcome = Refused(reason=RefusalReason.BUSY, detail="busy")
    assert await relay(20.0) is None
    assert await relay(0.1) is None, "tripped, and one does not sleep"
    assert await relay(15.0) is None
    bench.miners["m1"].outcome = Applied()
    assert await relay(11.0) is None
    assert await relay(300.0) is None, "it sleeps after all"
    del bench.shedder._asleep["m1"]
    bench.miners["m1"].outcome = Refused(reason=RefusalReason.BUSY, detail="busy")
    assert await relay() is None, "the time begins anew"
    assert await relay(29.0) is None
    assert "the contactor must fall" in await relay(1.1)
    bench.miners["m1"].outcome = Applied()
    assert "the contactor must fall" in await relay(60.0), "until a release"
    bench.new_guard()
    assert "the contactor must fall" in await relay(), "over a restart too"


async def test_a_sleeper_that_hashes_on_is_no_sleeper_for_the_contactor(bench, relay):
    await bench.give(ladder_of(2))
    assert await relay(20.1) is None
    bench.miners["m1"].hashing = False
    for name in ("m0", "m1"):
        await bench.shedder._check(name)
    for after_s in (0.0, 15.0, 15.0):  # it says yes each time
        assert await relay(after_s) is None
        assert bench.shedder.asleep == 2
    assert "the contactor must fall" in await relay(0.1)


async def test_a_guard_within_its_limit_keeps_the_contactor(bench, relay):
    bench.guard._curve = FailsafeCurve(hold_s=20.0, decay_s=60.0, value_w=6_100.0)
    await bench.give(ladder_of(3))
    assert await relay(20.1) is None
    for _ in range(20):
        assert await relay(30.0) is None
    assert bench.shedder.asleep == 1


async def test_the_load_does_not_wait_for_the_latch_to_be_on_the_disk(bench, monkeypatch):
    await bench.give(ladder_of(3))
    under_way = []
    monkeypatch.setattr(Store, "save_latch", lambda *_: under_way.append(bench.shedder.under_way))
    bench.clock.now_s += 20.1
    await settled(bench)
    assert under_way == [3], "once, when every command had been given"
