"""What can go wrong with a device.

DeviceError(device, operation, detail)            .transient as class data
├─ Unreachable     no connection, no reply in time           transient
├─ Busy            rebooting, updating, tuning               transient
├─ Unauthorized    credentials refused                       until they change
├─ DeviceRefused   device said no: its code and text         permanent for this command
├─ Unsupported     no such ability or unknown firmware       permanent
└─ Malformed       reply not as documented                   quarantine
"""

from typing import ClassVar


class DeviceError(Exception):
    """Base. The message names the device, the operation and what happened."""

    transient: ClassVar[bool] = False

    def __init__(self, device: str, operation: str, detail: str) -> None:
        super().__init__(f"{device}: {operation}: {detail}")
        self.device = device
        self.operation = operation
        self.detail = detail


class Unreachable(DeviceError):
    """No connection, or no whole reply within the deadline. `connected` tells which."""

    transient = True

    def __init__(self, device: str, operation: str, detail: str, *, connected: bool) -> None:
        super().__init__(device, operation, detail)
        self.connected = connected
        """True once a connection stood: the device may have received the request."""


class Busy(DeviceError):
    """The device says it is rebooting, updating or tuning."""

    transient = True


class Unauthorized(DeviceError):
    """The credentials were refused."""


class DeviceRefused(DeviceError):
    """The device answered and said no."""


class Unsupported(DeviceError):
    """The device or its firmware has no such ability."""


class Malformed(DeviceError):
    """The reply was not as documented, too large, or cut off."""
