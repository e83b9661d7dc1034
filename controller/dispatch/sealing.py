"""Messages in and out of their signed envelopes, for the side that does not judge orders.

The site seals what it says with its own key, so that the dispatcher can prove it; the dispatcher
opens it here. (What the dispatcher says is judged by `acceptance`.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.dispatch.message import (
    PAYLOAD_TYPES,
    Confirmation,
    Event,
    Inward,
    Outward,
    Receipt,
    Status,
    decode,
    encode,
)
from controller.signing import (
    PublicKey,
    Rejection,
    Role,
    SigningKey,
    read_unverified,
    sign,
    verify,
)

_OUTWARD: dict[str, type[Outward]] = {
    PAYLOAD_TYPES[kind]: kind for kind in (Receipt, Confirmation, Status, Event)
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A site's message. `verified` is False when no key of the site was given to check it with."""

    message: Outward
    verified: bool


def seal(message: Inward | Outward, keys: Sequence[SigningKey]) -> bytes:
    """Return the signed envelope of `message`. `keys`: at least one."""
    return sign(encode(message), PAYLOAD_TYPES[type(message)], keys)


def open_from_site(envelope: bytes, site: str, keys: Mapping[str, PublicKey]) -> Opened | str:
    """Read a receipt, confirmation, status or event of `site`; a sentence where that fails.

    `keys` are the site's. With none the content is read unverified, and the result says so.
    """
    claimed = read_unverified(envelope)
    if isinstance(claimed, Rejection):
        return claimed.detail
    kind = _OUTWARD.get(claimed.payload_type)
    if kind is None:
        return f"no message of a site: payloadType {claimed.payload_type[:80]!r}"
    payload = claimed.payload
    if keys:
        checked = verify(envelope, keys, claimed.payload_type)
        if isinstance(checked, Rejection):
            return f"{checked.reason.value}: {checked.detail}"
        if not any(Role.SITE in signer.roles for signer in checked.signers):
            return "signed by a key without the role 'site'"
        payload = checked.payload
    try:
        message = decode(payload, kind)
    except ValueError as error:
        return f"not a valid {kind.__name__.lower()}: {error}"
    if message.site != site:
        return f"from site {message.site!r}, not {site!r}"
    return Opened(message, bool(keys))
