"""A signed hold: for its time a silent controller does not trip the guard. Pure.

    from_at ──────────────── until_at      at most HOLD_S_MAX apart, signed once, taken once
               │ taken here
               ▼
            in force ──▶ over by itself, or ended by a person

Each hold begins later than the one before: the same envelope again, or an older one, is refused.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from controller.signing import PublicKey, Rejection, RejectionReason, SigningKey, sign, verify

PAYLOAD_TYPE = "application/vnd.naryn.guard-hold+json"
VERSION = 1
HOLD_S_MAX = 1_800.0
"""An update that takes longer is no update: somebody must look, and sign again."""
SKEW_S = 30.0
"""How far the signer's clock may be ahead of the guard's."""

_Line = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. `by`: the login name of who signed."""

    version: int = VERSION
    site: str
    from_at: _Instant
    until_at: _Instant
    reason: _Line
    by: _Line


class _Version(msgspec.Struct, frozen=True):
    version: int


def sealed(hold: Hold, key: SigningKey) -> bytes:
    """The signed envelope of a hold."""
    return sign(msgspec.json.encode(hold), PAYLOAD_TYPE, [key])


def opened(
    envelope: bytes, keys: Mapping[str, PublicKey], site_id: str
) -> tuple[Hold, PublicKey] | str:
    """The hold and whose signature it bears; a sentence when it is not believed."""
    if not keys:
        return "this guard takes no hold: no key is listed as [[guard.hold_key]]"
    checked = verify(envelope, keys, PAYLOAD_TYPE)
    if isinstance(checked, Rejection):
        mend = ""
        if checked.reason is RejectionReason.UNKNOWN_KEY:
            mend = "; list the signer's public key as [[guard.hold_key]]"
        return f"the hold is not believed: {checked.detail}{mend}"
    try:
        version = msgspec.json.decode(checked.payload, type=_Version).version
        if version > VERSION:
            return (
                f"the hold was made by a newer naryn (form {version}, this guard knows {VERSION}); "
                "make it with the guard's own version"
            )
        hold = msgspec.json.decode(checked.payload, type=Hold)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"the hold is not understood: {error}"
    if hold.site != site_id:
        return f"the hold is for site {hold.site!r}, and this guard is of site {site_id!r}"
    return hold, checked.signers[0]


def remaining_s(hold: Hold, now: datetime) -> float | str:
    """How long a hold still lasts at `now`, never longer than its own length; a sentence when it
    is not in force.
    """
    length_s = (hold.until_at - hold.from_at).total_seconds()
    if not 0.0 < length_s <= HOLD_S_MAX:
        return (
            f"the hold would last {length_s / 60:.0f} minutes; at most {HOLD_S_MAX / 60:.0f} are "
            "taken, and a longer one needs a new signature"
        )
    if now < hold.from_at - timedelta(seconds=SKEW_S):
        return (
            f"the hold begins at {hold.from_at:%H:%M:%S} UTC, and here it is {now:%H:%M:%S}; "
            "set both clocks"
        )
    if now >= hold.until_at:
        return f"the hold was over at {hold.until_at:%Y-%m-%d %H:%M:%S} UTC"
    return min((hold.until_at - now).total_seconds(), length_s)


def follows(hold: Hold, last_at: datetime | None) -> str | None:
    """Why a hold may not come after one that began at `last_at`; None when it may."""
    if last_at is None or hold.from_at > last_at:
        return None
    return "this hold, or one that begins later, was taken already; sign a new one"
