"""Outcomes as guard and controller tell them: nothing is lost on the way, and a page fits."""

import msgspec
import pytest

from controller.channel.curtail import CURTAIL_MINERS_MAX, OUTCOMES_MAX, OutcomeLine, Outcomes
from controller.channel.frames import FRAME_BYTES_MAX
from controller.power.decide import MinerCommand
from controller.site.curtail import _parts
from drivers.contract.commands import (
    AlreadySo,
    Applied,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
)

OUTCOMES = [
    Applied(),
    Applied(persistent_writes=1),
    AlreadySo(),
    *(Refused(reason=reason, detail="no") for reason in RefusalReason),
    Unconfirmed(detail="sent; no answer"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_an_outcome_arrives_as_it_was(outcome):
    body = msgspec.msgpack.encode(OutcomeLine.of(7, "m1", outcome))
    line = msgspec.msgpack.decode(body, type=OutcomeLine)
    assert (line.number, line.miner_id, line.outcome()) == (7, "m1", outcome)


def test_a_full_page_of_the_longest_words_fits_the_channel():
    words = Unconfirmed(detail="\U0001f525" * 10_000)
    line = OutcomeLine.of(2**31, "\U0001f525" * 100, words)
    page = Outcomes(lines=(line,) * OUTCOMES_MAX, left=2**31)
    assert len(msgspec.msgpack.encode(page)) < FRAME_BYTES_MAX


@pytest.mark.parametrize(
    ("name", "miners", "parts"),
    [
        ("m{:07}", 1, [1]),
        ("m{:07}", CURTAIL_MINERS_MAX, [CURTAIL_MINERS_MAX]),
        ("m{:07}", CURTAIL_MINERS_MAX + 1, [CURTAIL_MINERS_MAX, 1]),
        ("\U0001f525" * 200 + "{:07}", 1_300, [645, 645, 10]),
    ],
)
def test_a_request_is_parted_so_that_each_part_fits(name, miners, parts):
    commands = [
        MinerCommand(miner_id=name.format(number), command=Sleep(), commanded_s=1.0)
        for number in range(miners)
    ]
    made = list(_parts(commands))
    assert [len(part) for part in made] == parts
    assert [command for part in made for command in part] == commands
    for part in made:
        ids = [command.miner_id for command in part]
        assert len(msgspec.msgpack.encode(ids)) < FRAME_BYTES_MAX / 2 + 1_000
