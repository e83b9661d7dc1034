"""The dispatcher's command line against a broker and a site that answers."""

import asyncio
import contextlib
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from controller.cli import dispatch, keys
from controller.clock import SystemClock
from controller.dispatch.acceptance import (
    Accepted,
    AcceptedHeartbeat,
    Arrival,
    KnownOrder,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.link import BrokerAddress, DispatchLink
from controller.dispatch.message import (
    Confirmation,
    ConfirmationStage,
    Order,
    Reference,
    Setpoint,
    Status,
)
from controller.dispatch.receipts import Stamp, accepted, received, rejected
from controller.dispatch.sealing import seal
from controller.dispatch.topics import (
    event_topic,
    receipt_topic,
    site_subscriptions,
    status_topic,
)
from controller.power.state import OrderClass
from controller.signing import PublicKey, Role, parse_private_key, parse_public_key
from tests.patience import until
from tests.services.brokers import QUICK, Mosquitto

SITE = "kambarata"


@pytest.fixture
async def broker():
    made = Mosquitto()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def desk(tmp_path):
    for name in ("ndc", "chief", SITE):
        assert CliRunner().invoke(keys.app, ["new", name, "--out", str(tmp_path)]).exit_code == 0
    return tmp_path


class Site:
    """Judges, answers at once, and confirms as its `deliver` says."""

    def __init__(self, broker, desk, *, deliver=True):
        self.key = parse_private_key((desk / f"{SITE}.key").read_bytes())
        roles = [Role.DISPATCH, Role.EMERGENCY]
        self.keys = {}
        for name in ("ndc", "chief"):
            raw = parse_public_key((desk / f"{name}.pub").read_bytes())
            key = PublicKey.of(raw, issuer=name, roles=roles)
            self.keys[key.key_id] = key
        self.link = DispatchLink(
            address=BrokerAddress(host="127.0.0.1", port=broker.port, client_id="site"),
            subscriptions=site_subscriptions(SITE),
            clock=SystemClock(),
            rng=random.Random(1),
            backoff=QUICK,
        )
        self.deliver, self.book, self.orders, self.verdicts = deliver, SequenceBook(), {}, []
        self.sequence = 0

    async def serve(self):
        while True:
            inbound = await self.link.inbox.get()
            view = SiteView(
                site=SITE, keys=self.keys, caps_now_w={"plant": 8e6}, orders=self.orders
            )
            arrival = Arrival(
                inbound.topic, inbound.payload, inbound.received_at, inbound.received_s
            )
            verdict, self.book = accept(self.book, arrival, view)
            self.verdicts.append(verdict)
            if isinstance(verdict, AcceptedHeartbeat):
                continue
            await self.say(received(verdict.reference, self.stamp()))
            if isinstance(verdict, Accepted):
                await self.confirm(verdict)
            else:
                await self.say(rejected(verdict, self.stamp()))

    async def confirm(self, verdict):
        message = verdict.message
        cap_w = message.cap_w
        if isinstance(message, Order):
            cap_w = message.cap_w
            if message.curtail_percent is not None:
                cap_w = round(6e6 * (1 - message.curtail_percent / 100))
            elif message.curtail_by_w is not None:
                cap_w = 6_000_000 - message.curtail_by_w
            self.orders[message.id] = KnownOrder(
                message.node, message.order_class, in_force=message.release is None
            )
        await self.say(accepted(verdict, self.stamp(), cap_w))
        stage = ConfirmationStage.VERIFIED if self.deliver else ConfirmationStage.FAILED
        about = verdict.reference
        if isinstance(message, Setpoint):
            return
        if isinstance(message, Order) and message.release is not None:
            # A site that was restarted knows the order's id, not its bytes.
            stage = ConfirmationStage.RELEASED
            about = Reference(topic=verdict.reference.topic, order=message.release)
            failed = self.stamp()
            await self.say(
                Confirmation(
                    site=SITE,
                    sequence=failed.sequence,
                    at=failed.at,
                    of=about,
                    stage=ConfirmationStage.FAILED,
                    shortfall_w=1,
                )
            )
        stamp = self.stamp()
        await self.say(
            Confirmation(
                site=SITE,
                sequence=stamp.sequence,
                at=stamp.at,
                of=about,
                stage=stage,
                cap_w=cap_w,
                meter="pcc",
                t90_s=21.0,
                measured_w=cap_w or 0,
                floor_w=10_000,
                shortfall_w=None if self.deliver else 123_000,
            )
        )

    def stamp(self):
        self.sequence += 1
        return Stamp(SITE, self.sequence, datetime.now(UTC))

    async def say(self, message):
        await self.link.publish(receipt_topic(SITE), seal(message, [self.key]))


@contextlib.asynccontextmanager
async def running(site):
    async with site.link:
        await until(lambda: site.link.connected, "the site connects")
        task = asyncio.create_task(site.serve())
        yield site
        task.cancel()
        await asyncio.wait({task})


async def run(broker, desk, *words, key=("ndc",), checked=True):
    options = ["--broker", f"127.0.0.1:{broker.port}", "--site", SITE]
    options += [part for name in key for part in ("--key", str(desk / f"{name}.key"))]
    options += ["--site-key", str(desk / f"{SITE}.pub")] if checked else []
    line = [*map(str, words), *options]
    return await asyncio.to_thread(CliRunner().invoke, dispatch.app, line)


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


async def test_order_is_sent_received_accepted_and_verified(broker, desk):
    async with running(Site(broker, desk)) as site:
        result = await run(
            broker,
            desk,
            "order",
            "--node",
            "plant",
            "--percent",
            40,
            "--for",
            "10m",
            "--within",
            "30s",
            "--reason",
            "кечки чоку",
            "--wait",
            "--json",
        )
        sent, *heard = lines(result)
        assert result.exit_code == 0
        assert (sent["kind"], sent["sent"], sent["reason"]) == ("order", True, "кечки чоку")
        assert [answer["stage"] for answer in heard] == ["RECEIVED", "ACCEPTED", "VERIFIED"]
        assert all(answer["verified"] for answer in heard)
        assert heard[1]["cap_w"] == 3_600_000
        message = site.verdicts[0].message
        assert message.valid_until - message.valid_from == timedelta(minutes=10)
        assert message.within_s == 30


async def test_failure_and_rejection_end_with_status_1(broker, desk):
    async with running(Site(broker, desk, deliver=False)):
        result = await run(broker, desk, "order", "--node", "plant", "--cap-w", 0, "--wait")
        assert result.exit_code == 1
        assert "FAILED" in result.stdout
        assert "short by 123.0 kW" in result.stdout
        result = await run(broker, desk, "order", "--node", "moon", "--cap-w", 0, "--wait")
        assert result.exit_code == 1
        assert "UNKNOWN_NODE" in result.stdout


async def test_emergency_is_released_by_two_keys_only(broker, desk):
    hard = ("--class", "emergency", "--node", "plant", "--wait")
    async with running(Site(broker, desk)) as site:
        result = await run(broker, desk, "order", "--id", "e-1", "--cap-w", 0, *hard)
        assert result.exit_code == 0
        result = await run(broker, desk, "release", "e-1", *hard)
        assert (result.exit_code, "NEEDS_TWO_SIGNATURES" in result.stdout) == (1, True)
        # The order fails late, while its release is waited for: that is not the release's answer.
        site.deliver = False
        result = await run(broker, desk, "release", "e-1", *hard, key=("ndc", "chief"))
        assert (result.exit_code, "RELEASED" in result.stdout) == (0, True), result.output
        assert site.orders["e-1"].order_class is OrderClass.EMERGENCY


async def test_setpoint_stays_at_the_broker_and_heartbeats_echo_it(broker, desk):
    result = await run(
        broker,
        desk,
        "setpoint",
        "--node",
        "plant",
        "--cap-w",
        5_000_000,
        "--for",
        "1h",
        "--on-expiry",
        "failsafe",
        "--json",
    )
    assert result.exit_code == 0
    (sent,) = lines(result)
    async with running(Site(broker, desk)) as site:
        await until(lambda: site.verdicts, "the retained setpoint arrives")
        assert site.verdicts[0].message.sequence == sent["sequence"]
        result = await run(broker, desk, "heartbeat", "--every", "1s", "--for", "2s", "--json")
        assert result.exit_code == 0
        assert [beat["setpoints"] for beat in lines(result)] == [{"plant": sent["sequence"]}] * 2
        await until(lambda: len(site.verdicts) == 3, "both heartbeats arrive")
        assert all(isinstance(beat, AcceptedHeartbeat) for beat in site.verdicts[1:])


async def test_setpoint_waits_for_its_receipt(broker, desk):
    async with running(Site(broker, desk)):
        for node, status, word in [("plant", 0, "ACCEPTED"), ("moon", 1, "UNKNOWN_NODE")]:
            result = await run(broker, desk, "setpoint", "--node", node, "--cap-w", 1, "--wait")
            assert (result.exit_code, word in result.stdout) == (status, True), result.output


async def test_nobody_answers(broker, desk):
    result = await run(
        broker, desk, "order", "--node", "plant", "--cap-w", 0, "--wait", "--timeout", "0.2s"
    )
    assert (result.exit_code, "no final answer within 0.2 s" in result.stderr) == (3, True)


async def test_watch_prints_what_the_site_says_and_doubts_what_it_did_not(broker, desk):
    async with running(Site(broker, desk)) as site:
        status = Status(
            site=SITE,
            sequence=1,
            at=datetime.now(UTC),
            state="online",
            mode="\x1b[31marmed",
            power_w=4_000_000,
        )
        await site.link.publish(status_topic(SITE), seal(status, [site.key]), retain=True)
        stranger = parse_private_key((desk / "chief.key").read_bytes())
        forged = Confirmation(
            site=SITE,
            sequence=9,
            at=datetime.now(UTC),
            of=Reference(topic="x"),
            stage=ConfirmationStage.RELEASED,
        )
        await site.link.publish(event_topic(SITE), seal(forged, [stranger]), retain=True)
        await until(lambda: site.link.counts.published == 2, "the broker holds both")
        result = await run(broker, desk, "watch", "--for", "3s", key=())
        assert result.exit_code == 0
        assert "kambarata is online, �[31marmed, mining 4.000 MW" in result.stdout
        assert "NOT BELIEVED" in result.stdout
        assert "UNKNOWN_KEY" in result.stdout
        result = await run(broker, desk, "watch", "--for", "3s", "--json", key=(), checked=False)
        heard = {answer["kind"]: answer for answer in lines(result)}
        assert heard["status"]["power_w"] == 4_000_000
        assert {answer["verified"] for answer in heard.values()} == {False}
