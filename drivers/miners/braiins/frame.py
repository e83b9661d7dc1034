"""The prepared pause of a miner under Braiins OS+, and what its answer means. Pure."""

from drivers.contract.commands import AlreadySo, Applied, Outcome, Unconfirmed
from drivers.contract.devices import MinerDevice
from drivers.contract.errors import DeviceError
from drivers.contract.frames import SleepFrame
from drivers.miners import cgminer
from drivers.miners.braiins import codec
from drivers.miners.cgminer import ReplyError
from drivers.miners.outcomes import after_sending
from drivers.transport.grpc_call import UnaryCall, is_answered
from drivers.transport.ports import Endpoint


def sleep_frame(
    device: MinerDevice, port: int, session: codec.Session, valid_until_s: float
) -> SleepFrame:
    """Build the whole call. Raises Unsupported for a device that is known by name only."""
    host, deadline_s = cgminer.address(device), device.profile.command_deadline_s
    call = _call(device.miner_id, host, port, session.token, deadline_s)
    return SleepFrame(
        miner_id=device.miner_id,
        firmware=device.profile.firmware,
        host=host,
        port=port,
        request=call.bytes_to_send(),
        valid_until_s=valid_until_s,
        answer_deadline_s=deadline_s,
    )


def judge(frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | None:
    """See `drivers.contract.frames.Judge`.

    The call is made once more without sending it, for an answer has a meaning only to its call.
    """
    if not is_closed and not is_answered(received):
        return None
    call = _call(frame.miner_id, frame.host, frame.port, "", frame.answer_deadline_s)
    call.receive(received)
    call.close("the peer closed without an answer")
    if isinstance(call.result, DeviceError):
        return after_sending(call.result)
    try:
        is_paused = codec.decode_already(call.result or codec.EMPTY)
    except ReplyError as error:
        return Unconfirmed(detail=f"sent; its answer: {error}")
    return AlreadySo() if is_paused else Applied()


def _call(miner_id: str, host: str, port: int, token: str, deadline_s: float) -> UnaryCall:
    return UnaryCall(
        Endpoint(device=miner_id, host=host, port=port),
        codec.PAUSE_MINING,
        codec.EMPTY,
        metadata={"authorization": token},
        deadline_s=deadline_s,
        bytes_max=codec.MESSAGE_BYTES_MAX,
    )
