"""From what went wrong to the outcome of a command. Pure."""

from drivers.contract.commands import RefusalReason, Refused, Unconfirmed
from drivers.contract.errors import (
    Busy,
    DeviceError,
    DeviceRefused,
    Malformed,
    Unauthorized,
    Unreachable,
    Unsupported,
)

_REASONS: dict[type[DeviceError], RefusalReason] = {
    Unreachable: RefusalReason.UNREACHABLE,
    Busy: RefusalReason.BUSY,
    Unauthorized: RefusalReason.UNAUTHORIZED,
    DeviceRefused: RefusalReason.DEVICE_REFUSED,
    Unsupported: RefusalReason.UNSUPPORTED,
    Malformed: RefusalReason.MALFORMED_STATE,
}


def refused_by(error: DeviceError) -> Refused:
    """Return the refusal for an error that came before the command was sent."""
    reason = _REASONS.get(type(error), RefusalReason.DEVICE_REFUSED)
    return Refused(reason=reason, detail=error.detail)


def after_sending(error: DeviceError) -> Refused | Unconfirmed:
    """Return the outcome for an error that came while or after the command was sent.

    Certain are only a connection that never stood and a plain no; all else may have been carried
    out.
    """
    if isinstance(error, Malformed) or (isinstance(error, Unreachable) and error.connected):
        return Unconfirmed(detail=f"sent; {error.detail}")
    return refused_by(error)
