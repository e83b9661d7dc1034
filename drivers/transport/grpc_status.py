"""What a gRPC status means for a device: status → DeviceError. Pure.

Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html. Where that document leaves open
whether a call was carried out (13 INTERNAL, 14 UNAVAILABLE, …), the error says that the device may
have received it.
"""

from collections.abc import Mapping

from drivers.contract.errors import (
    Busy,
    DeviceError,
    DeviceRefused,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from drivers.transport.ports import Endpoint

OK = 0

_TEXT_CHARACTERS_MAX = 200

_CERTAIN: Mapping[int, type[DeviceError]] = {
    3: DeviceRefused,  # INVALID_ARGUMENT
    5: DeviceRefused,  # NOT_FOUND
    6: DeviceRefused,  # ALREADY_EXISTS
    7: Unauthorized,  # PERMISSION_DENIED
    8: Busy,  # RESOURCE_EXHAUSTED
    9: DeviceRefused,  # FAILED_PRECONDITION
    11: DeviceRefused,  # OUT_OF_RANGE
    12: Unsupported,  # UNIMPLEMENTED
    16: Unauthorized,  # UNAUTHENTICATED
}
"""Statuses of a service that looked at the call and did not carry it out."""


def operation_of(path: str) -> str:
    """Return how errors name a call: `/braiins.bos.v1.ActionsService/PauseMining` → `PauseMining`.

    >>> operation_of("/braiins.bos.v1.ActionsService/PauseMining")
    'PauseMining'
    """
    return path.rpartition("/")[2]


def status_error(endpoint: Endpoint, path: str, status: int, text: str) -> DeviceError:
    """Return the error for a status other than OK; `text` is the service's own, for people."""
    clean = "".join(letter for letter in text[:_TEXT_CHARACTERS_MAX] if letter.isprintable())
    detail = f"gRPC status {status}: {clean.strip() or 'no text'}"
    kind = _CERTAIN.get(status)
    if kind is None:
        return Unreachable(endpoint.device, operation_of(path), detail, connected=True)
    return kind(endpoint.device, operation_of(path), detail)
