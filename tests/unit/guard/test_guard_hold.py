"""A signed hold: who is believed, for how long, and when silence counts again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from controller.guard.hold import (
    HOLD_S_MAX,
    PAYLOAD_TYPE,
    SKEW_S,
    VERSION,
    Hold,
    follows,
    opened,
    remaining_s,
    sealed,
)
from controller.guard.watch import Watch, heard, limit_w, looked
from controller.power.site import FailsafeCurve
from controller.signing import PublicKey, SigningKey, sign

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CURVE = FailsafeCurve(hold_s=20.0, decay_s=60.0, value_w=10_000.0)
LOAD_W = 70_000.0
KEY = SigningKey.of(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = SigningKey.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ANNA = PublicKey.of(KEY.public_bytes, issuer="anna", roles=())
KEYS = {ANNA.key_id: ANNA}


def hold(minutes=10.0, **changes):
    facts = {
        "site": "hpp",
        "from_at": NOW,
        "until_at": NOW + timedelta(minutes=minutes),
        "reason": "update",
        "by": "anna",
    }
    return Hold(**(facts | changes))


def signed(**changes):
    payload = msgspec.to_builtins(hold()) | changes
    return sign(msgspec.json.encode(payload), PAYLOAD_TYPE, [KEY])


def test_what_was_signed_by_a_listed_key_is_believed():
    assert opened(sealed(hold(), KEY), KEYS, "hpp") == (hold(), ANNA)


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        (sealed(hold(), STRANGER), "list the signer's public key as [[guard.hold_key]]"),
        (sign(b"{}", "application/vnd.naryn.order.v1+json", [KEY]), "not 'application/vnd.naryn.g"),
        (b"nonsense", "not a DSSE envelope"),
        (b"x" * 70_000, "at most 65536 are read"),
        (signed(version=VERSION + 1), "made by a newer naryn"),
        (signed(version=VERSION + 1, more=1), "made by a newer naryn"),
        (signed(more=1), "not understood"),
        (signed(until_at="tomorrow"), "not understood"),
        (signed(until_at="2026-11-25T12:10:00"), "not understood"),
        (signed(reason="\x1b[2J"), "not understood"),
        (signed(reason="x" * 201), "not understood"),
        (sign(b"[" * 30_000, PAYLOAD_TYPE, [KEY]), "not understood"),
        (signed(site="other"), "for site 'other', and this guard is of site 'hpp'"),
    ],
)
def test_what_is_not_a_hold_for_here_has_its_sentence(envelope, said):
    found = opened(envelope, KEYS, "hpp")
    assert isinstance(found, str)
    assert said in found


def test_a_changed_byte_is_not_believed():
    whole = sealed(hold(), KEY)
    for place in range(0, len(whole), 7):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        found = opened(changed, KEYS, "hpp")
        assert isinstance(found, str) or found == (hold(), ANNA), "but where the id is not needed"


def test_without_keys_no_hold_is_taken():
    assert "no key is listed" in opened(sealed(hold(), KEY), {}, "hpp")


def test_it_lasts_to_its_end_and_never_longer_than_its_length():
    assert remaining_s(hold(), NOW) == 600.0
    assert remaining_s(hold(), NOW + timedelta(minutes=4)) == 360.0
    assert remaining_s(hold(), NOW - timedelta(seconds=SKEW_S)) == 600.0
    assert "set both clocks" in remaining_s(hold(), NOW - timedelta(seconds=SKEW_S + 1))
    assert "was over" in remaining_s(hold(), NOW + timedelta(minutes=10))
    longest = HOLD_S_MAX / 60
    assert remaining_s(hold(longest), NOW) == HOLD_S_MAX
    assert "at most 30 are taken" in remaining_s(hold(longest + 0.1), NOW)
    for backwards in (0.0, -5.0):
        assert isinstance(remaining_s(hold(backwards), NOW), str)


def test_each_hold_begins_later_than_the_last():
    assert follows(hold(), None) is None
    assert follows(hold(), NOW - timedelta(seconds=1)) is None
    assert "sign a new one" in follows(hold(), NOW)
    assert "sign a new one" in follows(hold(), NOW + timedelta(seconds=1))


def look(watch, now_s):
    return looked(watch, now_s, NOW, LOAD_W, CURVE)


def test_silence_does_not_trip_while_held_and_trips_at_once_when_it_outlasts_the_hold():
    held = Watch(heard_s=100.0, held_until_s=700.0)
    assert look(held, 120.1).latch is None
    assert look(held, 700.0).latch is None
    tripped = look(held, 700.01)
    assert tripped.latch is not None
    seen = [limit_w(tripped, now_s, CURVE) for now_s in (700.0, 730.0, 760.0)]
    assert seen == [70_000.0, 40_000.0, 10_000.0], "the curve begins where the hold ended"


def test_a_controller_that_is_back_before_the_end_has_its_full_silence_again():
    back = heard(Watch(heard_s=100.0, epoch="one", held_until_s=700.0), "two", 695.0)
    assert look(back, 715.0).latch is None
    assert look(back, 715.01).latch is not None


def test_a_hold_does_not_end_a_latch():
    tripped = look(Watch(heard_s=100.0), 121.0)
    held = replace(tripped, held_until_s=900.0)
    assert look(held, 200.0).latch == tripped.latch
    assert limit_w(held, 200.0, CURVE) == CURVE.value_w


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_hold_never_makes_the_guard_trip_earlier(heard_s, until_s, now_s):
    held = look(Watch(heard_s=heard_s, held_until_s=until_s), now_s)
    plain = look(Watch(heard_s=heard_s), now_s)
    assert held.latch is None or plain.latch is not None
