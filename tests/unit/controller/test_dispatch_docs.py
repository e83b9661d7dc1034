"""docs/protocol/README.md says what the program does: its examples are made here, by the program.

After a wanted change, write them anew: run this file with NARYN_WRITE_DOCS=1 in the environment.
"""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.dispatch import topics
from controller.dispatch.acceptance import (
    Accepted,
    Alarm,
    Arrival,
    ClockView,
    Reason,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.message import (
    PAYLOAD_TYPES,
    Confirmation,
    ConfirmationStage,
    Heartbeat,
    Order,
    ReceiptStage,
    Setpoint,
    Status,
    encode,
)
from controller.dispatch.receipts import Stamp, accepted, rejected
from controller.dispatch.sealing import seal
from controller.power.state import OnExpiry, OrderClass
from controller.signing import PublicKey, Role
from tests.unit.controller.seeded_keys import signing_key

PAGE = Path(__file__).parents[3] / "docs" / "protocol" / "README.md"
SITE = "kambarata"
AT = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NDC = signing_key(1)
VIEW = SiteView(
    site=SITE,
    keys={NDC.key_id: PublicKey.of(NDC.public_bytes, issuer="ndc", roles=[Role.DISPATCH])},
    caps_now_w={"plant": 8_000_000.0},
    clock=ClockView({"ndc": 0.2}, synced=True),
)
ORDER = Order(
    id="ndc-1796126400",
    issuer="ndc",
    site=SITE,
    sequence=1_796_126_400,
    node="plant",
    issued_at=AT,
    valid_from=AT,
    valid_until=AT + timedelta(minutes=15),
    curtail_percent=40.0,
    within_s=30.0,
    reason="evening peak",
)
RELEASE = Order(
    id="chief-7",
    issuer="chief",
    site=SITE,
    sequence=1_796_126_500,
    node="plant",
    issued_at=AT,
    valid_from=AT,
    valid_until=AT + timedelta(minutes=1),
    order_class=OrderClass.LOCKOUT,
    release="winter-1",
    order_number="КР-17/2026",
)
SETPOINT = Setpoint(
    issuer="ndc",
    site=SITE,
    sequence=1_796_126_410,
    node="feeder-1",
    issued_at=AT,
    valid_from=AT,
    valid_until=AT + timedelta(hours=1),
    cap_w=4_000_000,
    on_expiry=OnExpiry.FAILSAFE,
)
HEARTBEAT = Heartbeat(
    issuer="ndc",
    site=SITE,
    sequence=1_796_126_411,
    at=AT,
    clock_synced=True,
    setpoints={"feeder-1": SETPOINT.sequence},
)


def judged(message):
    envelope = seal(message, [NDC])
    arrival = Arrival(topics.order_topic(SITE), envelope, AT + timedelta(seconds=1), 100.0)
    return accept(SequenceBook(), arrival, VIEW)[0]


def examples():
    """Name → JSON text."""
    verdict = judged(ORDER)
    assert isinstance(verdict, Accepted)
    cap_w = 3_600_000  # 40 % less than 6 MW
    stamp = Stamp(SITE, 101, AT + timedelta(seconds=1))
    elsewhere = Order(
        **{name: getattr(ORDER, name) for name in ORDER.__struct_fields__} | {"node": "moon"}
    )
    verified = Confirmation(
        site=SITE,
        sequence=102,
        at=AT + timedelta(seconds=28),
        of=verdict.reference,
        stage=ConfirmationStage.VERIFIED,
        cap_w=cap_w,
        meter="feeder-1, feeder-2",
        t90_s=21.4,
        measured_w=3_561_000,
        floor_w=96_000,
        delivered_wh=18_100,
    )
    status = Status(
        site=SITE,
        sequence=103,
        at=AT,
        state="online",
        mode="armed",
        cap_w=cap_w,
        power_w=3_561_000,
        floor_w=96_000,
        clock_synced=True,
        setpoints={"feeder-1": SETPOINT.sequence},
    )
    made = {
        "envelope": seal(ORDER, [NDC]),
        "order": encode(ORDER),
        "release": encode(RELEASE),
        "setpoint": encode(SETPOINT),
        "heartbeat": encode(HEARTBEAT),
        "accepted": encode(accepted(verdict, stamp, cap_w)),
        "rejected": encode(rejected(judged(elsewhere), stamp)),
        "verified": encode(verified),
        "status": encode(status),
    }
    return {
        name: json.dumps(json.loads(data), indent=2, ensure_ascii=False)
        for name, data in made.items()
    }


def block(name, text):
    return f"<!-- example: {name} -->\n```json\n{text}\n```"


def shown():
    pattern = r"<!-- example: (\w+) -->\n```json\n(.*?)\n?```"
    return dict(re.findall(pattern, PAGE.read_text(), flags=re.DOTALL))


def test_examples_are_what_the_program_makes():
    made = examples()
    if os.environ.get("NARYN_WRITE_DOCS"):
        page = PAGE.read_text()
        for name, text in made.items():
            pattern = rf"<!-- example: {name} -->\n```json\n.*?```"
            page = re.sub(pattern, lambda _, n=name, t=text: block(n, t), page, flags=re.DOTALL)
        PAGE.write_text(page)
    assert shown() == made


def test_the_envelope_carries_the_order():
    page = shown()
    verdict = judged(ORDER)
    envelope = json.loads(page["envelope"])
    assert envelope["payloadType"] == PAYLOAD_TYPES[Order]
    assert json.loads(page["accepted"])["of"]["envelope_sha256"] == (
        verdict.reference.envelope_sha256
    )


WORDS = [
    *Reason,
    *Alarm,
    *Role,
    *OrderClass,
    *OnExpiry,
    *ReceiptStage,
    *ConfirmationStage,
    topics.order_topic("{site}"),
    topics.setpoint_topic("{site}", "{node}"),
    topics.heartbeat_topic("{site}"),
    topics.receipt_topic("{site}"),
    topics.status_topic("{site}"),
    topics.event_topic("{site}"),
    *(name for name in Order.__struct_encode_fields__ if name not in ("site", "sequence")),
]


@pytest.mark.parametrize("word", sorted({str(word) for word in WORDS}))
def test_every_word_of_the_protocol_is_explained(word):
    assert f"`{word}`" in PAGE.read_text()


def test_reasons_that_use_up_the_sequence_are_those_that_the_judge_remembers():
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|$", PAGE.read_text(), flags=re.MULTILINE)
    used = {reason for reason, word in rows if word == "yes"}
    assert len(rows) == len(Reason)
    # test_dispatch_refusals.py proves each of these.
    assert used == {
        "EXPIRED",
        "NOT_FRESH",
        "CLOCK_DISAGREES",
        "UNKNOWN_ORDER",
        "ORDER_ID_USED",
    }
