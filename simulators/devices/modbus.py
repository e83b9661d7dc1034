"""A Modbus device without sockets: a request PDU goes in, a reply PDU or silence comes out.

    request PDU ──▶ fault? ──▶ function, count, address checked ──▶ words ──▶ reply PDU
                    silent · late · exception · drop · wrong_transaction

Written from the MODBUS Application Protocol Specification V1.1b3. Functions 3, 4, 5, 6 and 16; the
exceptions 1 (function), 2 (address), 3 (value), 4 (device failure) and 11 (no such unit here). What
the registers say is the business of a `RegisterSource`: a meter's values, a PLC's process values.
`simulators.devices.modbus_server` puts the same device on a socket.
"""

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

READ_HOLDING = 3
READ_INPUT = 4
WRITE_COIL = 5
WRITE_REGISTER = 6
WRITE_REGISTERS = 16
WRITES_MAX = 123
"""Most registers in one write (specification, function 16)."""
PDU_BYTES_MAX = 253
"""Longest protocol data unit (specification, section 4.1)."""

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
DEVICE_FAILURE = 4
NO_TARGET = 11
"""Gateway target device failed to respond: what a TCP gateway answers for an unknown unit."""


class MeterFault(StrEnum):
    """What can be wrong with a device on the wire."""

    SILENT = "silent"
    FROZEN = "frozen"
    NAN = "nan"
    LATE = "late"
    WRONG_TRANSACTION = "wrong_transaction"
    EXCEPTION = "exception"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a device takes one request.

    `pdu` is the reply, None for silence. It leaves `delay_s` after the request came. `drop` closes
    the connection instead of a reply; `wrong_transaction` sends the reply under a foreign id.
    """

    pdu: bytes | None
    delay_s: float = 0.0
    drop: bool = False
    wrong_transaction: bool = False


class RegisterError(Exception):
    """The device refuses with this exception code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"Modbus exception {code}")


class RegisterSource(Protocol):
    """The registers and coils behind a device. Addresses are 0-based, as on the wire."""

    def read(
        self, function: int, address: int, count: int, now_s: float, fault: MeterFault | None
    ) -> tuple[int, ...]:
        """Return `count` words as they stand at `now_s`. Raises RegisterError."""
        ...

    def write(self, address: int, words: tuple[int, ...]) -> None:
        """Take consecutive holding registers, all or none. Raises RegisterError."""
        ...

    def write_coil(self, address: int, *, on: bool) -> None:
        """Take one coil. Raises RegisterError."""
        ...


class ModbusDevice:
    """One device: its registers, its unit id, and what is wrong with it now.

    It answers its own unit id and the two that address the TCP device itself, 0 and 255.
    `turnaround_s` is how long it takes to reply when nothing is wrong.
    """

    def __init__(
        self, device_id: str, unit_id: int, source: RegisterSource, *, turnaround_s: float = 0.0
    ) -> None:
        self.id = device_id
        self.unit_id = unit_id
        self.source = source
        self.turnaround_s = turnaround_s
        self._fault: MeterFault | None = None
        self._fault_until_s = 0.0
        self._late_s = 0.0

    def set_fault(
        self, fault: MeterFault | None, *, until_s: float = float("inf"), delay_s: float = 2.0
    ) -> None:
        """Break the device until `until_s` (its clock), or mend it (None).

        `delay_s` is how late replies leave under the fault LATE.
        """
        self._fault = fault
        self._fault_until_s = until_s
        self._late_s = delay_s

    def fault(self, now_s: float) -> MeterFault | None:
        """Return what is wrong at `now_s`."""
        return self._fault if now_s < self._fault_until_s else None

    def answer(self, unit_id: int, pdu: bytes, now_s: float) -> Served:
        """Take one request and say what the device does with it; never raises."""
        fault = self.fault(now_s)
        match fault:
            case MeterFault.SILENT:
                return Served(pdu=None)
            case MeterFault.DROP:
                return Served(pdu=None, drop=True)
            case MeterFault.EXCEPTION:
                return Served(pdu=_refusal(pdu, DEVICE_FAILURE), delay_s=self.turnaround_s)
        if unit_id not in (self.unit_id, 0, 255):
            return Served(pdu=_refusal(pdu, NO_TARGET), delay_s=self.turnaround_s)
        try:
            reply = self._carry_out(pdu, now_s, fault)
        except RegisterError as error:
            reply = _refusal(pdu, error.code)
        late = fault is MeterFault.LATE
        return Served(
            pdu=reply,
            delay_s=self._late_s if late else self.turnaround_s,
            wrong_transaction=fault is MeterFault.WRONG_TRANSACTION,
        )

    def _carry_out(self, pdu: bytes, now_s: float, fault: MeterFault | None) -> bytes:
        if not 1 <= len(pdu) <= PDU_BYTES_MAX:
            raise RegisterError(ILLEGAL_VALUE)
        function = pdu[0]
        match function:
            case 3 | 4:
                address, count = _two_words(pdu)
                words = self.source.read(function, address, count, now_s, fault)
                return struct.pack(f">BB{count}H", function, 2 * count, *words)
            case 5:
                address, value = _two_words(pdu)
                if value not in (0x0000, 0xFF00):
                    raise RegisterError(ILLEGAL_VALUE)
                self.source.write_coil(address, on=value != 0)
                return pdu
            case 6:
                address, value = _two_words(pdu)
                self.source.write(address, (value,))
                return pdu
            case 16:
                address, words = _written_words(pdu)
                self.source.write(address, words)
                return pdu[:5]
            case _:
                raise RegisterError(ILLEGAL_FUNCTION)


def _refusal(pdu: bytes, code: int) -> bytes:
    return bytes([(pdu[0] if pdu else 0) | 0x80, code])


def _two_words(pdu: bytes) -> tuple[int, int]:
    if len(pdu) != 5:
        raise RegisterError(ILLEGAL_VALUE)
    first, second = struct.unpack(">HH", pdu[1:])
    return first, second


def _written_words(pdu: bytes) -> tuple[int, tuple[int, ...]]:
    if len(pdu) < 6:
        raise RegisterError(ILLEGAL_VALUE)
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= WRITES_MAX or size != 2 * count or len(pdu) != 6 + size:
        raise RegisterError(ILLEGAL_VALUE)
    return address, struct.unpack(f">{count}H", pdu[6:])
