"""The prepared configuration write of a stock Antminer, and what its answer means. Pure.

The write replaces the whole configuration, pools included, so a frame lives only as long as the
configuration inside may be believed to be the miner's own.
"""

from collections.abc import Mapping

from drivers.contract.commands import Applied, Outcome, RefusalReason, Refused, Unconfirmed
from drivers.contract.devices import Login, MinerDevice
from drivers.contract.frames import SleepFrame
from drivers.miners import cgminer
from drivers.miners.antminer_stock import codec
from drivers.miners.cgminer import ReplyError
from drivers.transport.digest import authorization

CONFIG_AGE_S_MAX = 60.0
"""How old a configuration may be that is written back. Naryn's own planning assumption: a person
who changes pools at the miner's page loses the change only when a curtailment falls into the same
minute; read anew at the moment of need, thousands of miners would be half a second later.
"""

_HEAD_BYTES_MAX = 16_384


def sleep_frame(
    device: MinerDevice,
    port: int,
    config: codec.Config,
    login: Login,
    challenge: Mapping[str, str],
    *,
    cnonce: str,
    read_at_s: float,
    answer_deadline_s: float,
) -> SleepFrame:
    """Build the whole request. Raises Unsupported for a device that is known by name only.

    HTTP/1.0: the answer then ends with the connection and is never chunked.
    """
    host = cgminer.address(device)
    path, body = codec.CONFIG_WRITE_PATH, codec.encode_config(config, codec.RAW_SLEEP)
    answer = authorization(challenge, login, "POST", path, count=1, cnonce=cnonce)
    head = (
        f"POST {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: {answer}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return SleepFrame(
        miner_id=device.miner_id,
        firmware=device.profile.firmware,
        host=host,
        port=port,
        request=head.encode("latin-1") + body,
        valid_until_s=read_at_s + CONFIG_AGE_S_MAX,
        answer_deadline_s=answer_deadline_s,
        read_s=read_at_s,
    )


def judge(_frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | None:
    """See `drivers.contract.frames.Judge`. 401: the nonce was stale, nothing was written."""
    head, parted, body = received.partition(b"\r\n\r\n")
    if not parted and not is_closed and len(head) <= _HEAD_BYTES_MAX:
        return None
    words = head.split(b" ", 2)
    if not parted or len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        return Unconfirmed(detail="sent; the answer is no HTTP")
    if words[1] == b"401":
        return Refused(reason=RefusalReason.UNAUTHORIZED, detail="the login has expired")
    wanted = _content_bytes(head)
    if not is_closed and (wanted is None or len(body) < wanted):
        return None
    if words[1] != b"200":
        status = words[1][:3].decode("latin-1")
        return Unconfirmed(detail=f"the write was answered with HTTP {status}")
    try:
        said = codec.decode_write_reply(body[:wanted])
    except ReplyError as error:
        return Unconfirmed(detail=f"the write was sent; its answer: {error}")
    if said is not None:
        return Refused(reason=RefusalReason.DEVICE_REFUSED, detail=said)
    return Applied(persistent_writes=1)


def _content_bytes(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        digits = value.strip()
        if name.strip().lower() == b"content-length" and digits.isdigit() and len(digits) < 8:
            return int(digits)
    return None
