"""Whether bytes may be the reply to a request, judged as they come."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.transport.modbus import Asked, frame_fault

ASKED = Asked(transaction=3, unit_id=1, function=3, count=2)
WHOLE = bytes.fromhex("0003 0000 0007 01 03 04 000a 000b")


def test_every_beginning_of_a_good_reply_is_well() -> None:
    assert [frame_fault(WHOLE[:n], ASKED) for n in range(len(WHOLE) + 1)] == [None] * 14


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_judged_without_raising(data: bytes) -> None:
    fault = frame_fault(data, ASKED)
    assert fault is None or len(fault) > 5


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(0, 255))
def test_any_changed_byte_before_the_registers_is_found(place: int, byte: int) -> None:
    changed = WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    refused = place == 7 and byte == 0x83  # an exception reply, but of the wrong length
    assert (frame_fault(changed, ASKED) is None) is (changed == WHOLE and not refused)


WRITE = Asked(transaction=3, unit_id=1, function=5, echo=bytes.fromhex("05 0007 ff00"))
ECHO = bytes.fromhex("0003 0000 0006 01 05 0007 ff00")


def test_a_write_is_answered_by_its_echo_and_nothing_else() -> None:
    assert [frame_fault(ECHO[:n], WRITE) for n in range(len(ECHO) + 1)] == [None] * 13
    for place in range(8, 12):
        changed = ECHO[:place] + b"\x55" + ECHO[place + 1 :]
        assert "in place of 050007ff00" in (frame_fault(changed, WRITE) or "")
    longer = ECHO[:5] + b"\x07" + ECHO[6:] + b"\0"
    assert "of 6 bytes in place of" in (frame_fault(longer, WRITE) or "")
    assert frame_fault(bytes.fromhex("0003 0000 0003 01 85 02"), WRITE) is None, "an exception"
