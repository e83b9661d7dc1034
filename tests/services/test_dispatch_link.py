"""One contract for every link: mosquitto, amqtt, and the in-memory twin."""

import asyncio
import contextlib

import pytest

from controller.dispatch.ports import PAYLOAD_BYTES_MAX, LastWill
from controller.dispatch.topics import (
    dispatcher_subscriptions,
    order_topic,
    receipt_topic,
    setpoint_topic,
    site_subscriptions,
    status_topic,
)
from tests.patience import until
from tests.services.brokers import PATIENCE_S, Amqtt, Memory, Mosquitto

SITE = "kambarata"
WILL = LastWill(status_topic(SITE), b'{"state":"offline"}')


@pytest.fixture(params=[Mosquitto, Amqtt, Memory], ids=lambda kind: kind.name)
async def bench(request):
    made = request.param()
    await made.start()
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def opened(bench, subscriptions, **how):
    async with bench.link(subscriptions, **how) as link:
        await until(lambda: link.connected, f"connects: {link.last_error}")
        yield link


def site_link(bench, **how):
    how.setdefault("client_id", "site")
    how.setdefault("will", WILL)
    return opened(bench, site_subscriptions(SITE), **how)


def dispatcher_link(bench, **how):
    return opened(bench, dispatcher_subscriptions(SITE), **how)


async def take(link):
    return await asyncio.wait_for(link.inbox.get(), PATIENCE_S)


async def take_until(link, payload):
    """Everything up to and including `payload`."""
    seen = []
    while payload not in seen:
        seen.append((await take(link)).payload)
    return seen


async def test_order_reaches_the_site_and_receipt_comes_back(bench):
    async with site_link(bench) as site, dispatcher_link(bench) as dispatcher:
        await dispatcher.publish(order_topic(SITE), b"an order")
        inbound = await take(site)
        assert (inbound.topic, inbound.payload) == (order_topic(SITE), b"an order")
        assert not inbound.retained
        await site.publish(receipt_topic(SITE), b"a receipt")
        assert (await take_until(dispatcher, b"a receipt"))[-1] == b"a receipt"


async def test_setpoint_is_retained_for_a_site_that_comes_later(bench):
    async with dispatcher_link(bench) as dispatcher:
        await dispatcher.publish(setpoint_topic(SITE, "plant"), b"old", retain=True)
        await dispatcher.publish(setpoint_topic(SITE, "plant"), b"new", retain=True)
        await until(lambda: dispatcher.counts.published >= 1, "published")
        await asyncio.sleep(0.1)
        async with site_link(bench) as site:
            inbound = await take(site)
            assert (inbound.payload, inbound.retained) == (b"new", True)


async def test_receipts_survive_a_restart_of_the_broker(bench):
    async with site_link(bench) as site:
        await site.publish(receipt_topic(SITE), b"receipt 0")
        await until(lambda: site.counts.published == 1, "first receipt is out")
        await bench.stop()
        await until(lambda: not site.connected, "the site notices")
        for number in range(1, 51):
            await site.publish(receipt_topic(SITE), b"receipt %d" % number)
        assert site.counts.published == 1
        # The dispatcher is there first, so that no receipt can pass it by.
        late = bench.link(dispatcher_subscriptions(SITE))
        await bench.cut(site)
        async with late as dispatcher:
            await bench.start()
            await until(lambda: dispatcher.connected, "the dispatcher connects")
            await bench.mend(site)
            seen = await take_until(dispatcher, b"receipt 50")
            receipts = list(dict.fromkeys(seen))
            assert receipts == [b"receipt %d" % number for number in range(1, 51)]
            assert site.counts.connections == 2
            assert site.counts.outbox_dropped == 0


async def test_orders_still_arrive_after_a_restart_of_the_broker(bench):
    async with site_link(bench) as site, dispatcher_link(bench) as dispatcher:
        await bench.stop()
        await until(lambda: not (site.connected or dispatcher.connected), "both notice")
        await bench.start()
        await until(lambda: site.connected and dispatcher.connected, "both return")
        await dispatcher.publish(order_topic(SITE), b"after")
        assert (await take(site)).payload == b"after"


async def test_last_will_is_seen_when_the_cable_is_pulled(bench):
    async with site_link(bench) as site, dispatcher_link(bench) as dispatcher:
        await site.publish(status_topic(SITE), b"online", retain=True)
        await take_until(dispatcher, b"online")
        await bench.cut(site)
        await take_until(dispatcher, WILL.payload)
        # It is retained: whoever comes later sees it too.
        async with dispatcher_link(bench) as late:
            inbound = await take(late)
            assert (inbound.payload, inbound.retained) == (WILL.payload, True)
        # And the site says that it is back without being asked to.
        await bench.mend(site)
        await take_until(dispatcher, b"online")


async def test_leaving_properly_says_offline_too(bench):
    async with dispatcher_link(bench) as dispatcher:
        async with site_link(bench) as site:
            await site.publish(status_topic(SITE), b"online", retain=True)
            await take_until(dispatcher, b"online")
        await take_until(dispatcher, WILL.payload)


async def test_orders_wait_for_a_site_that_is_cut_off(bench):
    async with site_link(bench) as site, dispatcher_link(bench) as dispatcher:
        await bench.cut(site)
        await take_until(dispatcher, WILL.payload)  # the broker has noticed
        await dispatcher.publish(order_topic(SITE), b"while away")
        await until(lambda: dispatcher.counts.published == 1, "the broker has it")
        await bench.mend(site)
        assert (await take(site)).payload == b"while away"


async def test_oversized_is_dropped_and_the_next_is_read(bench):
    async with site_link(bench) as site, dispatcher_link(bench) as dispatcher:
        await dispatcher.publish(order_topic(SITE), b"x" * (PAYLOAD_BYTES_MAX + 1))
        await dispatcher.publish(order_topic(SITE), b"x" * PAYLOAD_BYTES_MAX)
        assert len((await take(site)).payload) == PAYLOAD_BYTES_MAX
        assert site.counts.oversized_dropped == 1


async def test_full_inbox_drops_and_counts(bench):
    async with (
        site_link(bench, inbox_max=3) as site,
        dispatcher_link(bench) as dispatcher,
    ):
        for number in range(10):
            await dispatcher.publish(order_topic(SITE), b"%d" % number)
        await until(lambda: site.counts.inbox_dropped == 7, "seven are dropped")
        assert [site.inbox.get_nowait().payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_full_outbox_drops_the_oldest_receipt_but_never_the_status(bench):
    await bench.stop()
    async with bench.link(site_subscriptions(SITE), client_id="site", outbox_max=3) as site:
        await site.publish(status_topic(SITE), b"online", retain=True)
        for number in range(10):
            await site.publish(receipt_topic(SITE), b"%d" % number)
        assert site.counts.outbox_dropped == 7
        await bench.cut(site)
        async with bench.link(dispatcher_subscriptions(SITE)) as dispatcher:
            await bench.start()
            await until(lambda: dispatcher.connected, "the dispatcher connects")
            await bench.mend(site)
            seen = await take_until(dispatcher, b"online")
            assert seen == [b"7", b"8", b"9", b"online"]


async def test_absent_broker_is_named_and_does_not_end_the_link(bench):
    await bench.stop()
    async with bench.link(site_subscriptions(SITE), client_id="site") as site:
        if bench.name != "memory":
            await until(lambda: site.last_error is not None, "an error is told")
            assert "127.0.0.1:" in site.last_error
        assert not site.connected
        await bench.start()
        await until(lambda: site.connected, "connects once the broker is there")


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#"])
async def test_impossible_topic_is_refused_at_once(bench, topic):
    async with site_link(bench) as site:
        with pytest.raises(ValueError, match="cannot publish to topic"):
            await site.publish(topic, b"")
