"""Outcomes as guard and controller tell them: nothing is lost on the way, and a page fits."""

import msgspec
import pytest

from controller.channel.curtail import (
    CURTAIL_MINERS_MAX,
    OUTCOMES_MAX,
    Curtail,
    OutcomeLine,
    Outcomes,
)
from controller.channel.frames import FRAME_BYTES_MAX
from controller.power.decide import MinerCommand
from controller.site.curtail import CHANGED_S_MAX, _parts, changed_since
from controller.site.slots import MinerSlots
from drivers.contract.commands import (
    AlreadySo,
    Applied,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
)
from drivers.contract.readings import MinerReading

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
        ("\U0001f525" * 200 + "{:07}", 1_300, [504, 504, 292]),
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
        ids = tuple(command.miner_id for command in part)
        ask = Curtail(
            site_id="toy",
            epoch="one",
            number=1,
            until_s=1.0,
            miner_ids=ids,
            changed_s=dict.fromkeys(ids, 1.0),
        )
        assert len(msgspec.msgpack.encode(ask)) < FRAME_BYTES_MAX - 1_000


def reading(name, *, taken_s, uptime_s):
    return MinerReading(
        miner_id=name,
        begun_s=taken_s - 0.1,
        taken_s=taken_s,
        make="any",
        firmware="any",
        uptime_s=uptime_s,
    )


def test_a_configuration_counts_as_changed_when_its_miner_began_anew_or_is_silent():
    miners = MinerSlots()
    for name, uptime_s in (("old", 5_000), ("young", 30), ("mute", None), ("silent", 5_000)):
        miners.put(reading(name, taken_s=990.0, uptime_s=uptime_s))
    miners.miss("silent", 999.0, "no answer")
    miners.miss("never read", 999.0, "no answer")
    changed_s = {"young": 960.0, "silent": 1_000.0, "never read": 1_000.0}
    assert changed_since(miners, 1_000.0) == changed_s
    assert "young" in changed_since(miners, 960.0 + CHANGED_S_MAX - 1.0)
    assert "young" not in changed_since(miners, 960.0 + CHANGED_S_MAX)
