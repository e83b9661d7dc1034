"""Orders that a site must refuse: what a stranger, a thief, a faulty program or a replay would
send.

Each is one order message, wrong in one respect alone; without a key a forger cannot know which
sequence comes next, so he takes one far ahead, and must not spoil the book with it.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulators.services.dispatcher.dsse import ENVELOPE_BYTES_MAX, close_envelope

Forgery = Literal[
    "garbage",
    "unsigned",
    "stranger",
    "tampered",
    "oversized",
    "malformed",
    "foreign",
    "replayed",
    "expired",
]
"""garbage: no envelope at all · unsigned: an envelope without a signature · stranger: signed by a
key that the site does not know · tampered: the cap changed after signing · oversized: signed, and
beyond the size of any message · malformed: signed words that are no order · foreign: meant for
another site · replayed: the sequence of the last order, with other content · expired: its time is
over."""
FORGERIES: tuple[str, ...] = get_args(Forgery)

FAR_AHEAD = 1_000_000
_STRANGER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a stranger").digest())
_LONG_AGO = {"valid_from": "2020-01-01T00:00:00.000Z", "valid_until": "2020-01-01T01:00:00.000Z"}


def forge(
    fault: str,
    body: Mapping[str, Any],
    payload_type: str,
    keys: Sequence[Ed25519PrivateKey],
    last_sequence: int,
) -> bytes:
    """Make the wrong message of a right order's `body`, whose sequence is the next one.

    `keys` are the dispatcher's own; `last_sequence` is that of his last order. Raises ValueError
    for an unknown fault.
    """
    guess = {**body, "sequence": body["sequence"] + FAR_AHEAD}
    match fault:
        case "garbage":
            return bytes(range(256)) * 4
        case "unsigned":
            return close_envelope(guess, payload_type, ())
        case "stranger":
            return close_envelope(guess, payload_type, (_STRANGER,))
        case "tampered":
            return _tampered(close_envelope(guess, payload_type, keys))
        case "oversized":
            wordy = {**body, "reason": "A" * ENVELOPE_BYTES_MAX}
            return close_envelope(wordy, payload_type, keys)
        case "malformed":
            crooked = {**body, "cap_w": "as little as you can"}
            return close_envelope(crooked, payload_type, keys)
        case "foreign":
            return close_envelope({**body, "site": "another-plant"}, payload_type, keys)
        case "replayed":
            return close_envelope({**body, "sequence": last_sequence}, payload_type, keys)
        case "expired":
            return close_envelope({**body, **_LONG_AGO}, payload_type, keys)
        case _:
            raise ValueError(f"forgery {fault!r} is not known; use one of: {', '.join(FORGERIES)}")


def _tampered(envelope: bytes) -> bytes:
    """Change the cap within an envelope that is signed already."""
    opened = json.loads(envelope)
    body = json.loads(b64decode(opened["payload"]))
    body["cap_w"] += 1
    opened["payload"] = b64encode(json.dumps(body).encode()).decode("ascii")
    return json.dumps(opened).encode("ascii")
