"""Bytes that are no plain request are refused, and no flipped one is signed as something else."""

import random
from base64 import b64decode, b64encode

import bdkpython as bdk
import pytest

from simulators.services.signer.request import REQUEST_BYTES_MAX
from simulators.services.signer.sign import Refused, Signed, answer
from tests.unit.simulators.signer.signer_requests import request, text


def raw(ground, **changes):
    return bytearray(b64decode(text(request(ground, **changes))))


def version_0(ground):
    data = raw(ground)
    data[8:12] = bytes(4)  # magic, key, length of a transaction below 253 bytes, its version
    return bytes(data)


def sequence_0(ground):
    data = raw(ground)
    at = data.index(b"\xfd\xff\xff\xff")
    data[at : at + 4] = bytes(4)
    return bytes(data)


def previous_length_wrong(ground):
    data = raw(ground)
    at = data.index(b"\x01\x00\x5c\x02\x00\x00\x00")
    data[at + 2] += 1
    return bytes(data)


def version_2_psbt(ground):
    return b"psbt\xff" + b"\x01\x04\x09" + b"\xff" * 9 + b"\x01\xfb\x04\x02\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (version_0, "its transaction has a form that is not signed here"),
        (sequence_0, "its transaction has a form that is not signed here"),
        # A byte of the next entry, which is of a random key, becomes the end of this one.
        (previous_length_wrong, ("the request is damaged", "a previous transaction in it")),
        (version_2_psbt, "it is a PSBT of version 2"),
        (lambda ground: bytes(raw(ground)) + b"\x00", "the request is damaged"),
        (lambda ground: bytes(raw(ground))[:-9], "the request is damaged"),
        (lambda _: b"psbt\xff\x01\x00\xff" + b"\xff" * 8, "the request is damaged"),
        (lambda _: b"psbt\xff\x00", "it is no PSBT of version 0"),
        (lambda _: b"", "the request is no PSBT"),
    ],
)
def test_bytes_that_are_no_plain_psbt_are_refused(ground, make, sentence):
    given = answer(b64encode(make(ground)), ground.policy)
    assert isinstance(given, Refused)
    assert given.sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"not base64!", "the request is not base64 text"),
        (b"A" * (REQUEST_BYTES_MAX + 1), "the request is larger than 1048576 bytes"),
    ],
)
def test_text_that_is_no_request_is_refused(ground, data, sentence):
    assert answer(data, ground.policy) == Refused(sentence)


def test_no_flipped_byte_is_signed_as_something_else(ground):
    """What comes back signed spends the very transaction that the other implementation reads."""
    whole = b64decode(text(request(ground)))
    numbers = random.Random(7)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
        given = answer(b64encode(bytes(data)), ground.policy)
        outcomes.add(type(given))
        if isinstance(given, Signed):
            asked = bdk.Psbt(b64encode(bytes(data)).decode())
            back = bdk.Psbt(given.text.decode().strip())
            assert back.extract_tx_unchecked_fee_rate().compute_txid() == (
                asked.extract_tx_unchecked_fee_rate().compute_txid()
            )
    assert outcomes == {Signed, Refused}
