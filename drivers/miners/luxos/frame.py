"""The prepared Sleep of a LuxOS miner: three requests, and what their answers mean. Pure.

    logon ─▶ SessionID ─▶ curtail sleep ─▶ outcome ─▶ logoff

A session is a lock: one made ready beforehand would keep everybody else out of the miner, so it is
opened at the very moment and ended when every other miner has its command.
"""

from dataclasses import replace

from drivers.contract.commands import Applied, Outcome, RefusalReason, Refused, Unconfirmed
from drivers.contract.devices import MinerDevice
from drivers.contract.frames import Follow, SleepFrame
from drivers.miners import cgminer
from drivers.miners.cgminer import ReplyError
from drivers.miners.luxos import codec, plan

LIFE_S = 300.0
"""Nothing in the first request expires; so often the miner is asked whether it sleeps already."""


def sleep_frame(device: MinerDevice, port: int, valid_until_s: float) -> SleepFrame:
    """Build the first request. Raises Unsupported for a device that is known by name only."""
    return SleepFrame(
        miner_id=device.miner_id,
        firmware=device.profile.firmware,
        host=cgminer.address(device),
        port=port,
        request=codec.encode_query("logon"),
        valid_until_s=valid_until_s,
        answer_deadline_s=device.profile.command_deadline_s,
        goes_on=True,
    )


def judge(frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | Follow | None:
    """See `drivers.contract.frames.Judge`. The session's id is kept as the frame's reply key."""
    body = cgminer.whole(received, is_closed=is_closed)
    if body is None:
        return None
    if frame.reply_key:
        return _slept(frame, body)
    try:
        said = codec.decode_answer(body)
    except ReplyError as error:
        detail = f"logon: {error}" if body else "logon: closed without an answer"
        return Refused(reason=RefusalReason.UNAUTHORIZED, detail=detail)
    if not said.is_success or said.session_id is None:
        detail = f"no session, code {said.code}: {said.text}"
        return Refused(reason=RefusalReason.UNAUTHORIZED, detail=detail)
    name, *parameters = plan.SLEEP
    request = codec.encode_write(name, said.session_id, *parameters)
    key = said.session_id.encode()
    return Follow(frame=replace(frame, request=request, reply_key=key, goes_on=False))


def _slept(frame: SleepFrame, body: bytes) -> Follow:
    """What the curtailment came to; the session ends in every case."""
    log_off = codec.encode_write("logoff", frame.reply_key.decode())
    return Follow(frame=replace(frame, request=log_off), done=_outcome(body))


def _outcome(body: bytes) -> Outcome:
    if not body:
        return Unconfirmed(detail="sent; the peer closed without an answer")
    try:
        said = codec.decode_answer(body)
    except ReplyError as error:
        return Unconfirmed(detail=f"sent; its answer: {error}")
    if said.is_success:
        return Applied(persistent_writes=1)
    detail = f"code {said.code}: {said.text}"
    return Refused(reason=RefusalReason.DEVICE_REFUSED, detail=detail)
