"""The simulated dispatcher as a process of its own, over each broker, against our verifier."""

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.dispatch.acceptance import (
    Accepted,
    AcceptedHeartbeat,
    Arrival,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.receipts import Stamp, accepted
from controller.dispatch.sealing import seal
from controller.dispatch.secret_files import write_secret
from controller.dispatch.topics import receipt_topic, site_subscriptions
from controller.signing import PublicKey, Role, SigningKey, private_pem, public_pem
from simulators.scenario_file import scenario_path
from tests.patience import until
from tests.services.brokers import Amqtt, Mosquitto

SITE = "kambarata"


@pytest.fixture(params=[Mosquitto, Amqtt], ids=lambda kind: kind.name)
async def broker(request):
    made = request.param()
    await made.start()
    yield made
    await made.close()


def new_key(folder, name):
    key = SigningKey.of(Ed25519PrivateKey.generate())
    write_secret(folder / f"{name}.key", private_pem(key))
    (folder / f"{name}.pub").write_bytes(public_pem(key.public_bytes))
    return key


ORDER = """
[[event]]
at_s = 0.5
kind = "order"
id = "soon"
curtail_percent = 40
"""


async def spawn(broker, folder, *more):
    scenario = folder / "soon.toml"
    scenario.write_text(scenario_path("quiet").read_text() + ORDER)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulators.services.dispatcher",
        str(scenario),
        "--broker",
        f"127.0.0.1:{broker.port}",
        "--site",
        SITE,
        "--issuer",
        "ndc",
        "--key",
        str(folder / "ndc.key"),
        "--site-key",
        str(folder / "site.pub"),
        *more,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_its_evening_is_understood_and_our_receipt_by_it(broker, tmp_path):
    ndc, own = new_key(tmp_path, "ndc"), new_key(tmp_path, "site")
    view = SiteView(
        site=SITE,
        caps_now_w={"plant": 8e6},
        keys={ndc.key_id: PublicKey.of(ndc.public_bytes, issuer="ndc", roles=[Role.DISPATCH])},
    )
    async with broker.link(site_subscriptions(SITE), client_id="site") as link:
        await until(lambda: link.connected, "the site connects")
        process = await spawn(broker, tmp_path)
        try:
            book, verdicts = SequenceBook(), []
            while not any(isinstance(verdict, Accepted) for verdict in verdicts):
                inbound = await asyncio.wait_for(link.inbox.get(), 60)
                arrival = Arrival(
                    inbound.topic, inbound.payload, inbound.received_at, inbound.received_s
                )
                verdict, book = accept(book, arrival, view)
                verdicts.append(verdict)
            assert isinstance(verdicts[0], AcceptedHeartbeat)
            order = verdicts[-1]
            assert (order.message.curtail_percent, order.message.node) == (40, "plant")
            receipt = accepted(order, Stamp(SITE, 1, datetime.now(UTC)), 480_000)
            await link.publish(receipt_topic(SITE), seal(receipt, [own]))
            said = [
                json.loads(await asyncio.wait_for(process.stdout.readline(), 60)) for _ in range(2)
            ]
            assert said[0] == {"connected": True, "site": SITE}
            assert (said[1]["kind"], said[1]["verified"]) == ("receipt", True)
            assert (said[1]["stage"], said[1]["of"]["order"]) == ("ACCEPTED", order.message.id)
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_wrong_usage_is_status_2(tmp_path):
    (tmp_path / "ndc.key").write_bytes(b"junk")
    broker = type("Nowhere", (), {"port": 1})
    process = await spawn(broker, tmp_path)
    assert await asyncio.wait_for(process.wait(), 60) == 2
