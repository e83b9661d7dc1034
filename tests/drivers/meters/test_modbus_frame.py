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
