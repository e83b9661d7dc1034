"""A person's hold over a real channel: taken once, kept over a restart, over by itself."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from controller.channel.frames import RequestRefused
from controller.channel.guard import EndHold, Entry, Ladder, Look, TakeHold
from controller.cli.main import app
from controller.dispatch.secret_files import write_secret
from controller.guard.hold import Hold, sealed
from controller.signing import PublicKey, SigningKey, private_pem
from tests.services.guard_ground import opened, settled

KEY = SigningKey.of(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LADDER = Ladder(
    site_id="toy",
    epoch="one",
    floor_w=100.0,
    entries=(Entry("m0", "10.0.0.1", "any", "any", {}, 3_000.0),),
)
LOOK = Look(site_id="toy")


@pytest.fixture
async def bench(tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("g")) as made:
        anna = PublicKey.of(KEY.public_bytes, issuer="anna", roles=())
        made.hold_keys[anna.key_id] = anna
        made.new_guard()
        await made.give(LADDER)
        yield made


def hold(after_s=0.0, seconds=600.0, **changes):
    begin = NOW + timedelta(seconds=after_s)
    facts = {"site": "toy", "from_at": begin, "until_at": begin + timedelta(seconds=seconds)}
    envelope = sealed(Hold(**(facts | {"reason": "update", "by": "a"} | changes)), KEY)
    return TakeHold(site_id="toy", envelope=envelope)


async def passes(bench, seconds):
    """Time goes on, both clocks, and the guard looks."""
    bench.clock.passes(seconds)
    await settled(bench)


async def test_silence_within_a_hold_trips_nothing_and_trips_at_once_at_its_end(bench):
    image = await bench.ask(hold())
    assert (image.hold.issuer, image.hold.reason, image.hold.ends_in_s) == ("anna", "update", 600.0)
    assert "a silent controller does not trip this guard" in image.alarms[0]
    await passes(bench, 599.0)
    assert (await bench.ask(LOOK)).latch is None
    await passes(bench, 1.1)
    image = await bench.ask(LOOK)
    assert image.latch is not None
    assert (image.hold, image.asleep) == (None, 1)
    assert "held" not in " ".join(image.alarms)


async def test_a_person_ends_it_and_the_same_envelope_is_not_taken_again(bench):
    first = hold()
    await bench.ask(first)
    await passes(bench, 30.0)
    image = await bench.ask(EndHold(site_id="toy", by="ben"))
    assert (image.hold, image.latch) == (None, None)
    for _ in range(2):
        with pytest.raises(RequestRefused, match="was taken already; sign a new one"):
            await bench.ask(first)
        assert "a hold was refused: this hold" in (await bench.ask(LOOK)).alarms[0]
        bench.new_guard()
    with pytest.raises(RequestRefused, match="no hold is in force"):
        await bench.ask(EndHold(site_id="toy", by="ben"))
    await passes(bench, 20.1)
    assert (await bench.ask(LOOK)).latch is not None


async def test_an_ended_hold_lets_a_long_silence_trip_at_once(bench):
    await bench.ask(hold())
    await passes(bench, 30.0)
    await bench.ask(EndHold(site_id="toy", by="ben"))
    await passes(bench, 0.1)
    assert (await bench.ask(LOOK)).latch is not None


async def test_a_new_signature_prolongs(bench):
    await bench.ask(hold(seconds=60.0))
    await passes(bench, 50.0)
    await bench.ask(hold(after_s=50.0, seconds=60.0))
    await passes(bench, 59.0)
    assert (await bench.ask(LOOK)).latch is None
    await passes(bench, 1.1)
    assert (await bench.ask(LOOK)).latch is not None


async def test_it_outlives_the_guard_by_the_wall_clock(bench):
    await bench.ask(hold())
    bench.clock.passes(500.0)
    bench.new_guard()
    assert (await bench.ask(LOOK)).hold.ends_in_s == 100.0
    bench.clock.wall -= timedelta(seconds=520)
    bench.new_guard()
    assert (await bench.ask(LOOK)).hold.ends_in_s == 600.0, "a clock set back gives its length"
    bench.clock.wall -= timedelta(seconds=60)
    bench.new_guard()
    assert (await bench.ask(LOOK)).hold is None, "and not before it begins"
    bench.clock.wall += timedelta(days=1)
    bench.new_guard()
    image = await bench.ask(LOOK)
    assert (image.hold, image.alarms) == (None, ())


async def test_the_wall_clock_does_not_change_a_hold_in_force(bench):
    await bench.ask(hold())
    bench.clock.wall -= timedelta(hours=5)
    await passes(bench, 600.1)
    assert (await bench.ask(LOOK)).latch is not None


@pytest.mark.parametrize("body", [b"", b"nonsense", None])
async def test_a_damaged_file_is_no_hold_and_nothing_older_counts_again(bench, body):
    await bench.ask(hold())
    path = bench.folder / "guard" / "hold"
    path.write_bytes(path.read_bytes().replace(b"payload", b"payl0ad") if body is None else body)
    bench.clock.passes(1.0)
    bench.new_guard()
    image = await bench.ask(LOOK)
    assert image.hold is None
    assert "hold" in image.alarms[0]
    with pytest.raises(RequestRefused, match="sign a new one"):
        await bench.ask(hold())
    assert (await bench.ask(hold(after_s=2.0))).hold is not None


async def test_one_that_cannot_be_kept_is_not_taken(bench):
    (bench.folder / "guard" / "hold.new").mkdir()
    with pytest.raises(RequestRefused, match="hold: cannot be written"):
        await bench.ask(hold())
    assert (await bench.ask(LOOK)).hold is None


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (hold(seconds=1_801.0), "at most 30 are taken"),
        (hold(after_s=-700.0), "was over at"),
        (hold(after_s=31.0), "set both clocks"),
        (hold(site="other"), "for site 'other'"),
        (hold(version=2), "made by a newer naryn"),
        (TakeHold(site_id="toy", envelope=b"nonsense"), "not a DSSE envelope"),
    ],
)
async def test_a_refusal_is_said_and_alarmed_for_ten_minutes(bench, ask, said):
    with pytest.raises(RequestRefused, match=said):
        await bench.ask(ask)
    image = await bench.ask(LOOK)
    assert said in image.alarms[0]
    assert image.hold is None
    bench.clock.now_s += 601.0
    assert said not in " ".join((await bench.ask(LOOK)).alarms)


async def test_a_latch_that_stands_is_not_held(bench):
    await passes(bench, 20.1)
    with pytest.raises(RequestRefused, match="a hold does not end it"):
        await bench.ask(hold(after_s=20.0))
    assert (await bench.ask(LOOK)).latch is not None


SITE = """
[site]
id = "toy"
[control]
ramp_up_mw_per_min = 1
ramp_down_mw_per_min = 1
[[node]]
id = "plant"
kind = "plant"
rating_kw = 100
[guard]
socket = "run/guard.sock"
"""


@pytest.fixture
def command(bench):
    """The command line at the bench's guard, in a thread beside its loop."""
    site = bench.folder / "site.toml"
    site.write_text(SITE)
    write_secret(bench.folder / "anna.key", private_pem(KEY))

    async def run(*words):
        return await asyncio.to_thread(CliRunner().invoke, app, ["guard", *words, str(site)])

    return run


async def test_the_command_line_signs_holds_and_ends(bench, command):
    bench.clock.wall = datetime.now(UTC)
    key = ("--key", str(bench.folder / "anna.key"))
    done = await command("hold", "--minutes", "7", *key, "--reason", "update")
    assert done.exit_code == 0, done.output
    image = await bench.ask(LOOK)
    assert image.hold.reason == "update"
    assert 0 < image.hold.ends_in_s <= 420.0
    shown = await command("status")
    assert shown.exit_code == 1, "a guard that is held does not guard"
    assert "(anna): update" in shown.output
    assert (await command("hold", "--end")).exit_code == 0
    assert (await bench.ask(LOOK)).hold is None
    again = await command("hold", "--end")
    assert (again.exit_code, "no hold is in force" in again.output) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--minutes", "7"),
        ("--end", "--minutes", "7"),
        ("--minutes", "31", "--key", "anna.key"),
        ("--minutes", "0", "--key", "anna.key"),
        ("--minutes", "7", "--key", "no-such-file"),
        ("--minutes", "7", "--key", "/dev/null"),
    ],
)
async def test_words_that_make_no_hold_are_refused(bench, command, words):
    done = await command("hold", *words)
    assert done.exit_code == 2, done.output
    assert (await bench.ask(LOOK)).hold is None
