"""What people ask of a running site: every refusal is a sentence, every act has its effect."""

import asyncio

import msgspec
import pytest

from controller.channel.frames import RequestRefused
from controller.channel.view import (
    Act,
    Answer,
    Arm,
    CapNode,
    Disarm,
    Done,
    ListMiners,
    MinersPage,
    Tag,
    UncapNode,
    Untag,
)
from controller.cli.scenario.virtual_time import run_virtual
from controller.power.instructions import ArmFeeder
from tests.services.site_ground import Ground

BY = "asel"
REFUSALS = {
    "arm without a watchdog": (Arm(node_id="f1", by=BY), "say --without-watchdog"),
    "arm no feeder": (
        Arm(node_id="plant", without_watchdog=True, by=BY),
        "plant is no feeder; feeders are f1",
    ),
    "arm nothing": (
        Arm(node_id="f9", without_watchdog=True, by=BY),
        "no node 'f9'; known are plant, f1",
    ),
    "disarm nothing": (Disarm(node_id="f9", by=BY), "no node 'f9'"),
    "cap nothing": (CapNode(node_id="x", cap_w=1.0, reason="r", by=BY), "no node 'x'"),
    "cap below nothing": (
        CapNode(node_id="plant", cap_w=-1.0, reason="r", by=BY),
        "0 or more",
    ),
    "cap NaN": (
        CapNode(node_id="plant", cap_w=float("nan"), reason="r", by=BY),
        "0 or more",
    ),
    "cap infinite": (
        CapNode(node_id="plant", cap_w=float("inf"), reason="r", by=BY),
        "number of watts",
    ),
    "cap for no reason": (
        CapNode(node_id="plant", cap_w=1.0, reason="  ", by=BY),
        "give a reason",
    ),
    "cap for a novel": (
        CapNode(node_id="plant", cap_w=1.0, reason="r" * 201, by=BY),
        "at most 200",
    ),
    "uncap nothing": (UncapNode(node_id="x", by=BY), "no node 'x'"),
    "tag nobody": (Tag(miner_id="m99", reason="fan", by=BY), "no miner 'm99' in the inventory"),
    "tag for no reason": (Tag(miner_id="m00", reason="", by=BY), "give a reason"),
    "untag nobody": (Untag(miner_id="m99", by=BY), "no miner 'm99'"),
    "nobody asks": (Tag(miner_id="m00", reason="fan", by=" "), "`by` must name who asks"),
    "a crowd asks": (Tag(miner_id="m00", reason="fan", by="a" * 201), "at most 200 characters"),
    "miners in no state": (
        ListMiners(state="lazy", by=BY),
        "no state 'lazy'; states are running, curtailing",
    ),
}


@pytest.mark.parametrize(("act", "said"), REFUSALS.values(), ids=REFUSALS)
def test_refused_with_a_sentence_and_without_effect(act, said):
    async def story():
        ground = Ground()
        with pytest.raises(RequestRefused) as refusal:
            await ground.acts.answer(msgspec.msgpack.encode(act))
        assert said in refusal.value.detail
        await ground.tick()
        state = ground.ticker.state
        assert (state.armed, dict(state.operator_caps), dict(state.tags)) == ((), {}, {})

    run_virtual(story())


@pytest.mark.parametrize(
    "act",
    [
        Tag(miner_id="\u202e" * 300_000, reason="fan", by=BY),
        CapNode(node_id="x" * 300_000, cap_w=1.0, reason="r", by=BY),
        ListMiners(state="x" * 300_000, by=BY),
    ],
    ids=["miner", "node", "state"],
)
def test_a_huge_name_makes_a_short_refusal(act):
    async def story():
        with pytest.raises(RequestRefused) as refusal:
            await Ground().acts.answer(msgspec.msgpack.encode(act))
        assert len(refusal.value.detail) < 700

    run_virtual(story())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "arm"}),
        msgspec.msgpack.encode({"type": "fly", "by": BY}),
        msgspec.msgpack.encode({"type": "arm", "node_id": "f1", "by": BY, "force": True}),
        msgspec.msgpack.encode({"type": "cap", "node_id": 7, "cap_w": "much", "by": BY}),
    ],
    ids=["nothing", "garbage", "half", "unknown", "one word too many", "wrong kinds"],
)
def test_what_is_no_act_is_refused(body):
    async def story():
        with pytest.raises(RequestRefused, match="not a known request"):
            await Ground().acts.answer(body)

    run_virtual(story())


def test_too_many_wait():
    async def story():
        ground = Ground()
        act = msgspec.msgpack.encode(CapNode(node_id="plant", cap_w=9e4, reason="r", by=BY))
        waiting = [asyncio.create_task(ground.acts.answer(act)) for _ in range(300)]
        await asyncio.sleep(0.1)
        refused = [task for task in waiting if task.done()]
        assert len(refused) == 300 - 256
        for task in refused:
            with pytest.raises(RequestRefused, match="too many requests"):
                task.result()
        await ground.tick()
        answers = [msgspec.msgpack.decode(await t, type=Answer) for t in waiting[:256]]
        assert set(answers) == {Done(detail="plant is limited to 90.0 kW")}

    run_virtual(story())


def test_who_hangs_up_does_not_disturb_the_others():
    async def story():
        ground = Ground()
        gone = asyncio.create_task(ground.acts._do(Tag(miner_id="m00", reason="fan", by=BY)))
        stays = asyncio.create_task(ground.acts._do(Tag(miner_id="m01", reason="fan", by=BY)))
        await asyncio.sleep(0)
        gone.cancel()
        await ground.tick()
        assert isinstance(await stays, Done)
        assert set(ground.ticker.state.tags) == {"m00", "m01"}, "it was asked; it is done"

    run_virtual(story())


def test_every_act_has_its_effect_and_its_undoing():
    async def story():
        ground = Ground()
        assert await ground.asked(Arm(node_id="f1", without_watchdog=True, by=BY)) == Done(
            detail="f1 is armed"
        )
        assert ground.ticker.state.armed == ("f1",)
        assert ground.images[-1].mode == "armed"
        done = await ground.asked(CapNode(node_id="f1", cap_w=9e4, reason="test", by=BY))
        assert done == Done(detail="f1 is limited to 90.0 kW")
        root = next(node for node in ground.images[-1].nodes if node.node_id == "f1")
        assert root.limit_w == 9e4
        assert BY in root.reason or "test" in root.reason
        await ground.asked(Tag(miner_id="m00", reason="fan", by=BY))
        assert ground.ticker.state.tags == {"m00": f"{BY}: fan"}
        await ground.asked(Untag(miner_id="m00", by=BY))
        await ground.asked(UncapNode(node_id="f1", by=BY))
        await ground.asked(Disarm(node_id="f1", by=BY))
        state = ground.ticker.state
        assert (state.armed, dict(state.operator_caps), dict(state.tags)) == ((), {}, {})
        texts = [event.text for event in ground.images[-1].events]
        assert f"{BY} arms f1" in texts
        assert f"{BY} disarms f1" in texts

    run_virtual(story())


def test_a_tagged_miner_is_never_commanded():
    async def story():
        ground = Ground()
        ground.acts.put(ArmFeeder(node_id="f1", by="test"))
        await ground.tick(3)
        await ground.asked(Tag(miner_id="m07", reason="hands inside", by=BY))
        await ground.asked(CapNode(node_id="plant", cap_w=0.0, reason="test", by=BY))
        await ground.tick(20)
        commanded = {entry[1] for entry in ground.what("command")}
        assert commanded == set(ground.miners) - {"m07"}

    run_virtual(story())


def listed(ground, **asked):
    return ground.pages.miners(ListMiners(by=BY, **asked))


def test_miners_come_in_pages_in_the_order_of_the_inventory():
    async def story():
        ground = Ground(miners=1200)
        await ground.tick()
        page = listed(ground, limit=10_000)
        assert (page.total, len(page.miners)) == (1200, 500), "a page is bounded"
        names = [line.miner_id for line in page.miners]
        for offset in (500, 1000):
            names += [m.miner_id for m in listed(ground, offset=offset, limit=500).miners]
        assert names == list(ground.site.miners)
        assert listed(ground, offset=-5, limit=0).miners[0].miner_id == names[0]
        assert listed(ground, offset=10**12).miners == []

    run_virtual(story())


def test_miners_by_state():
    async def story():
        ground = Ground()
        ground.acts.put(ArmFeeder(node_id="f1", by="test"))
        await ground.tick(3)
        await ground.asked(CapNode(node_id="plant", cap_w=30e3, reason="test", by=BY))
        await ground.tick(15)
        ground.slots.miners.miss("m00", 1.0, "no route")
        ground.slots.miners.miss("m00", 2.0, "no route")
        asleep, running = listed(ground, state="curtailed"), listed(ground, state="running")
        assert asleep.total + running.total == 20
        assert asleep.total >= 10
        assert [line.miner_id for line in listed(ground, state="unreachable").miners] == ["m00"]
        body = msgspec.msgpack.encode(ListMiners(by=BY, state="curtailed"))
        answer = msgspec.msgpack.decode(await ground.acts.answer(body), type=Answer)
        assert isinstance(answer, MinersPage)
        assert answer.total == asleep.total

    run_virtual(story())


def test_requests_of_the_wire_are_the_acts_of_the_view():
    act = Arm(node_id="f1", without_watchdog=True, by=BY)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(act), type=Act) == act
