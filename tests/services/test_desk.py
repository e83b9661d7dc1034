"""The dispatcher's desk on a running site: signed orders in, receipts and proofs out."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.dispatch.message import Confirmation, Receipt, Status
from controller.dispatch.topics import order_topic, status_topic
from controller.power.instructions import ArmFeeder
from controller.power.site import DispatchPolicy, FailsafeCurve
from controller.power.state import OrderClass, OrderStage
from tests.services.desk_talk import CHIEF, SITE, STRANGER, Talk, beat, talking, told
from tests.services.site_ground import DYNAMICS, small_site


def test_received_accepted_verified_released_in_this_order_and_once():
    async def story():
        talk = await talking()
        envelope = talk.order()
        await talk.ground.tick(1)
        assert talk.stages() == ["RECEIVED", "ACCEPTED"]
        await talk.ground.tick(15)
        assert talk.stages() == ["RECEIVED", "ACCEPTED", "VERIFIED"]
        proof = talk.answers(Confirmation)[0]
        assert proof.cap_w == 30_000
        assert proof.measured_w <= 30_300
        assert proof.meter == "f1-meter"
        assert 2 <= proof.t90_s <= 10
        assert proof.shortfall_w == 0
        assert proof.detail is None
        assert proof.of.envelope_sha256 == talk.answers(Receipt)[0].of.envelope_sha256
        talk.order("r1", release="o1")
        await talk.ground.tick(20)
        assert talk.stages() == ["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]
        assert talk.stages("r1") == ["RECEIVED", "ACCEPTED"]
        talk.broker.publish(order_topic(SITE), envelope)
        await talk.ground.tick(1)
        assert talk.ground.ticker.state.orders["o1"].stage is OrderStage.RELEASED

    told(story)


def test_expired():
    async def story():
        talk = await talking()
        talk.order(lasts_s=25.0)
        await talk.ground.tick(60)
        assert talk.stages() == ["RECEIVED", "ACCEPTED", "VERIFIED", "EXPIRED"]
        assert talk.ground.load_w > 55e3, "the load comes back"

    told(story)


def test_superseded():
    async def story():
        talk = await talking()
        talk.order("o1")
        await talk.ground.tick(3)
        talk.order("o2", cap_w=20_000)
        await talk.ground.tick(20)
        assert talk.stages("o1") == ["RECEIVED", "ACCEPTED", "SUPERSEDED"]
        assert talk.stages("o2") == ["RECEIVED", "ACCEPTED", "VERIFIED"]

    told(story)


def test_two_orders_in_one_tick_have_their_answers_each():
    async def story():
        talk = await talking()
        talk.order("o1")
        talk.order("o2", cap_w=20_000)
        talk.order("o2", cap_w=10_000)
        await talk.ground.tick(1)
        assert talk.stages("o1") == ["RECEIVED", "ACCEPTED", "SUPERSEDED"]
        first, second = sorted({m.of.sequence for m in talk.answers() if m.of.order == "o2"})
        stages = {
            sequence: [str(m.stage) for m in talk.answers() if m.of.sequence == sequence]
            for sequence in (first, second)
        }
        assert stages == {first: ["RECEIVED", "ACCEPTED"], second: ["REJECTED"]}
        assert talk.ground.ticker.state.orders["o2"].cap_w == 20_000

    told(story)


def test_partial_says_what_can_be_had_and_when_and_fails_with_the_shortfall():
    async def story():
        talk = await talking()
        for name in ("m00", "m01", "m02"):
            talk.ground.slots.miners.unreachable[name] = talk.ground.clock.monotonic_s()
            talk.ground.miners[name].silent = talk.ground.miners[name].deaf = True
        now = talk.ground.clock.utc()
        talk.order(cap_w=5_000)
        await talk.ground.tick(60)
        assert talk.stages() == ["RECEIVED", "ACCEPTED_PARTIAL", "FAILED"]
        receipt = talk.answers(Receipt)[1]
        assert receipt.cap_w == 5_000
        assert receipt.deliverable_w == pytest.approx(2_000 + 3 * 3_000 + 17 * 30, rel=0.03)
        assert receipt.deliverable_at - now == timedelta(seconds=DYNAMICS.down_s)
        proof = talk.answers(Confirmation)[0]
        assert proof.shortfall_w == pytest.approx(talk.ground.load_w - 5_000, rel=0.02)
        assert proof.detail is None

    told(story)


def test_a_partial_order_for_later_counts_from_its_begin():
    async def story():
        talk = await talking()
        talk.ground.miners["m00"].silent = True
        talk.ground.slots.miners.unreachable["m00"] = talk.ground.clock.monotonic_s()
        begin = talk.ground.clock.utc() + timedelta(seconds=120)
        talk.order(cap_w=0, valid_from=begin)
        await talk.ground.tick(1)
        receipt = talk.answers(Receipt)[1]
        assert receipt.deliverable_at == begin + timedelta(seconds=DYNAMICS.down_s)

    told(story)


def test_failed_with_the_meters_lost_names_no_number():
    async def story():
        talk = await talking()
        talk.order()
        await talk.ground.tick(1)
        talk.ground.meter_lost = True
        await talk.ground.tick(60)
        assert talk.stages() == ["RECEIVED", "ACCEPTED", "FAILED"]
        proof = talk.answers(Confirmation)[0]
        assert (proof.shortfall_w, proof.measured_w) == (None, None), "unknown is absent, never 0"
        assert "no meter" in proof.detail
        assert talk.ground.ticker.ticks_failed == 0

    told(story)


REFUSED = {
    "unsigned": (lambda talk: talk.order("bad", STRANGER), "UNKNOWN_KEY"),
    "another's name": (lambda talk: talk.order("bad", CHIEF), "ISSUER_MISMATCH"),
    "unknown node": (lambda talk: talk.order("bad", node="moon"), "UNKNOWN_NODE"),
    "release of nothing": (lambda talk: talk.order("bad", release="none"), "UNKNOWN_ORDER"),
    "one signature for two": (
        lambda talk: talk.order("bad", release="hard", order_class=OrderClass.EMERGENCY),
        "NEEDS_TWO_SIGNATURES",
    ),
    "garbage": (
        lambda talk: talk.broker.publish(order_topic(SITE), b"\x00" * 200),
        "MALFORMED",
    ),
    "foreign topic": (
        lambda talk: talk.link.deliver("naryn/v1/other/dispatch/order", b"{}", retained=False),
        "FOREIGN_SITE",
    ),
}


@pytest.mark.parametrize(("send", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_rejected_leaves_no_trace(send, reason):
    async def story():
        talk = await talking()
        talk.order("hard", order_class=OrderClass.EMERGENCY, cap_w=50_000)
        await talk.ground.tick(20)
        before, count = talk.ground.ticker.state, len(talk.answers())
        send(talk)
        await talk.ground.tick(1)
        after = talk.ground.ticker.state
        assert (after.orders.keys(), after.setpoints) == (before.orders.keys(), before.setpoints)
        assert after.orders["hard"].stage is before.orders["hard"].stage
        fresh = talk.answers()[count:]
        assert [(str(m.stage), m.reason) for m in fresh] == [("REJECTED", reason)]
        assert "bad" not in talk.ground.desk._memory.references

    told(story)


def test_the_same_bytes_again_are_answered_and_change_nothing():
    async def story():
        talk = await talking()
        envelope = talk.order()
        await talk.ground.tick(3)
        before = talk.ground.ticker.state.orders
        talk.broker.publish(order_topic(SITE), envelope)
        await talk.ground.tick(1)
        assert talk.stages()[:3] == ["RECEIVED", "ACCEPTED", "ACCEPTED"]
        assert talk.ground.ticker.state.orders.keys() == before.keys()
        assert "before" in talk.answers(Receipt)[2].detail

    told(story)


def test_an_old_order_after_a_newer_one_is_replayed():
    async def story():
        talk = await talking()
        first = talk.order("o1")
        await talk.ground.tick(1)
        talk.order("o2", cap_w=20_000)
        await talk.ground.tick(1)
        talk.broker.publish(order_topic(SITE), first)
        await talk.ground.tick(1)
        assert talk.answers(Receipt)[-1].reason == "REPLAYED"

    told(story)


def test_a_retained_setpoint_comes_back_in_silence():
    async def story():
        talk = await talking()
        talk.setpoint(30_000)
        await talk.ground.tick(1)
        stages = [str(m.stage) for m in talk.answers(Receipt)]
        assert stages == ["RECEIVED", "ACCEPTED"]
        talk.broker.cut(talk.link)
        talk.broker.mend(talk.link)
        await talk.ground.tick(1)
        assert len(talk.answers(Receipt)) == 2
        assert talk.ground.ticker.state.setpoints["plant"].cap_w == 30_000

    told(story)


def test_nothing_is_said_before_it_is_journaled():
    async def story():
        talk = await talking()
        talk.ground.log.clear()
        commit = talk.ground.journal.commit

        async def watched(batch):
            assert not talk.stages(), "a receipt left before the journal had the order"
            await commit(batch)

        talk.ground.journal.commit = watched
        talk.order()
        await talk.ground.tick(1)
        assert talk.stages() == ["RECEIVED", "ACCEPTED"]

    told(story)


def test_an_order_is_obeyed_and_remembered_though_the_journal_fails(tmp_path):
    async def story():
        talk = await talking(tmp_path / "journal.db")
        talk.ground.journal.broken = True
        talk.order()
        await talk.ground.tick(15)
        assert talk.ground.load_w <= 30_000
        talk.ground.journal.broken = False
        await talk.ground.tick(1)
        await talk.restart()
        assert talk.ground.ticker.state.orders["o1"].stage is OrderStage.VERIFIED
        assert "o1" in talk.ground.desk._memory.references
        assert talk.ground.desk._memory.book.find("ndc", order_topic(SITE)) is not None

    told(story)


def test_an_order_survives_a_tick_that_fails(monkeypatch):
    async def story():
        talk = await talking()
        talk.order()

        def broken(*_):
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("controller.site.tick.decide", broken)
            with pytest.raises(ZeroDivisionError):
                await talk.ground.tick(1)
        talk.order("o1", cap_w=1_000)
        await talk.ground.tick(15)
        assert talk.ground.load_w <= 30_000
        assert talk.ground.ticker.state.orders["o1"].cap_w == 30_000
        assert talk.stages() == ["RECEIVED", "REJECTED", "ACCEPTED", "VERIFIED"]

    told(story)


def test_a_node_gone_from_the_tree_does_not_break_the_proof(tmp_path):
    async def story():
        talk = await talking(tmp_path / "journal.db")
        talk.order(node="f1")
        await talk.ground.tick(2)
        orders = talk.ground.ticker.state.orders
        moved = {name: replace(order, node_id="gone") for name, order in orders.items()}
        talk.ground.ticker.state = replace(talk.ground.ticker.state, orders=moved)
        await talk.ground.tick(15)
        assert talk.stages()[-1] == "VERIFIED"
        assert talk.ground.ticker.ticks_failed == 0

    told(story)


def test_silence_walks_the_failsafe_curve_and_heartbeats_bring_the_site_back():
    policy = DispatchPolicy(
        node_id="plant",
        heartbeat_timeout_s=5.0,
        curve=FailsafeCurve(hold_s=5.0, decay_s=10.0, value_w=20e3),
        restart_delay_s=5.0,
    )

    async def beating(talk, seconds):
        for _ in range(seconds):
            talk.publish(beat(talk))
            await talk.ground.tick(1)

    async def story():
        talk = await Talk(site=small_site(dispatch=policy)).start()
        talk.ground.acts.put(ArmFeeder(node_id="f1", by="test"))
        await beating(talk, 10)
        assert talk.ground.images[-1].dispatcher.state == "heard"
        full_w = talk.ground.load_w
        loads = []
        for _ in range(40):
            await talk.ground.tick(1)
            loads.append(talk.ground.load_w)
        assert talk.ground.images[-1].dispatcher.state == "silent"
        assert loads[8] == full_w, "held first"
        assert loads[-1] <= 20e3
        assert all(b <= a + 1.0 for a, b in itertools.pairwise(loads)), "it never rises"
        await beating(talk, 3)
        assert talk.ground.load_w <= 20e3, "a heartbeat alone brings nothing back at once"
        await beating(talk, 50)
        assert talk.ground.load_w > 55e3

    told(story)


def test_status_is_retained_signed_and_renewed():
    async def story():
        talk = await talking()
        await talk.ground.tick(11)
        statuses = talk.answers(Status)
        assert len(statuses) >= 3
        assert statuses[-1].power_w == pytest.approx(talk.ground.load_w, abs=1)
        assert status_topic(SITE) in talk.broker.retained
        talk.ground.meter_lost = True
        await talk.ground.tick(12)
        assert talk.answers(Status)[-1].power_w is None, "unknown, not 0"

    told(story)


def test_a_flood_is_taken_in_portions_and_the_tick_goes_on():
    async def story():
        talk = await talking()
        for index in range(250):
            talk.broker.publish(order_topic(SITE), b"%d" % index)
        await talk.ground.tick(1)
        assert len(talk.answers(Receipt)) == 64
        talk.order()
        await talk.ground.tick(4)
        assert "ACCEPTED" in talk.stages()

    told(story)
