"""The prepared `power_off` of a WhatsMiner, and what its answer means. Pure."""

from drivers.contract.commands import Applied, Outcome, RefusalReason, Refused, Unconfirmed
from drivers.contract.devices import MinerDevice
from drivers.contract.frames import SleepFrame
from drivers.miners import cgminer
from drivers.miners.cgminer import ReplyError
from drivers.miners.whatsminer_v2 import codec
from drivers.miners.whatsminer_v2.cipher import Token, seal

SLEEP = ("power_off", {"respbefore": "true"})
"""The answer is asked for before the boards are cut: afterwards some builds say nothing."""


def sleep_frame(device: MinerDevice, port: int, token: Token, valid_until_s: float) -> SleepFrame:
    """Seal the command with a token. Raises Unsupported for a device that is known by name only."""
    return SleepFrame(
        miner_id=device.miner_id,
        firmware=device.profile.firmware,
        host=cgminer.address(device),
        port=port,
        request=seal(token, *SLEEP),
        valid_until_s=valid_until_s,
        answer_deadline_s=device.profile.command_deadline_s,
        reply_key=token.aes_key,
    )


def judge(frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | None:
    """See `drivers.contract.frames.Judge`."""
    body = cgminer.whole(received, is_closed=is_closed)
    if body is None:
        return None
    if not body:
        return Unconfirmed(detail="sent; the peer closed without an answer")
    try:
        said = codec.decode_answer(Token(sign="", aes_key=frame.reply_key), body)
    except ReplyError as error:
        return Unconfirmed(detail=f"sent; its answer: {error}")
    if said.is_success:
        return Applied()
    detail = f"code {said.code}: {said.text}"
    if said.code in codec.CODES_OF_A_BAD_TOKEN:
        return Refused(reason=RefusalReason.UNAUTHORIZED, detail=detail)
    return Refused(reason=RefusalReason.DEVICE_REFUSED, detail=detail)
