"""What the desk remembers over a restart: book, references, outgoing sequences."""

import msgspec

from controller.dispatch.desk import DeskMemory
from controller.dispatch.message import Confirmation, Receipt
from controller.dispatch.topics import order_topic
from controller.site.tick import DESK_BLOB
from tests.services.desk_talk import SITE, talking, told


def test_a_restart_keeps_book_and_references_and_the_proof_names_the_order(tmp_path):
    async def story():
        talk = await talking(tmp_path / "journal.db")
        envelope = talk.order()
        await talk.ground.tick(2)
        digest = talk.answers(Receipt)[0].of.envelope_sha256
        await talk.restart()
        await talk.ground.tick(15)
        assert talk.stages() == ["RECEIVED", "ACCEPTED", "VERIFIED"]
        proof = talk.answers(Confirmation)[0]
        assert (proof.of.order, proof.of.envelope_sha256) == ("o1", digest)
        talk.broker.publish(order_topic(SITE), envelope)
        await talk.ground.tick(1)
        assert talk.stages()[3:] == ["ACCEPTED"], "known: neither REPLAYED nor a second order"
        assert len(talk.ground.ticker.state.orders) == 1

    told(story)


def test_outgoing_sequences_never_repeat_across_restarts(tmp_path):
    async def story():
        talk = await talking(tmp_path / "journal.db")
        for index in range(4):
            talk.order(f"o{index}", cap_w=30_000 - index * 1000)
            await talk.ground.tick(7)
            await talk.restart()
        await talk.ground.tick(2)
        assert len(talk.sequences) > 20
        assert talk.sequences == sorted(set(talk.sequences)), "each is above all before"

    told(story)


def test_sequences_stay_below_what_is_reserved_however_much_is_said(tmp_path):
    async def story():
        talk = await talking(tmp_path / "journal.db")
        for round_ in range(3):
            for index in range(60):
                talk.broker.publish(order_topic(SITE), b"noise %d %d" % (round_, index))
            await talk.ground.tick(1)
            blob = talk.ground.journal.load().blobs[DESK_BLOB]
            reserved = msgspec.json.decode(blob, type=DeskMemory).sequence_reserved
            assert max(talk.sequences) <= reserved

    told(story)
