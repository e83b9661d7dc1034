"""Which miner is due when: a wheel of slots, a hundredth of a second each. Pure.

    slot      12.30        12.31        12.32
            m3 m7 m9         m1         m2 m8  …      only slots that hold somebody exist

To plan a miner is to append to a list, to find who is due is to look at the nearest slot, so ten
thousand miners cost no more a read than ten.
"""

import heapq
from math import ceil

SLOT_S = 0.01


class Wheel:
    """Due times in seconds of one monotonic clock, one a key, rounded up to whole slots."""

    def __init__(self) -> None:
        self._slots: dict[int, list[str]] = {}
        self._order: list[int] = []
        """The numbers of the slots that exist, as a heap."""
        self._slot_of: dict[str, int] = {}

    def put(self, key: str, due_s: float) -> None:
        """Plan a key; an earlier plan of it no longer counts."""
        slot = ceil(due_s / SLOT_S)
        self._slot_of[key] = slot
        held = self._slots.get(slot)
        if held is None:
            self._slots[slot] = [key]
            heapq.heappush(self._order, slot)
        else:
            held.append(key)

    def due_s(self, key: str) -> float | None:
        """When a key is due; None while it is not planned."""
        slot = self._slot_of.get(key)
        return None if slot is None else slot * SLOT_S

    def next_s(self) -> float | None:
        """When the nearest slot is due; None while nothing is planned."""
        return self._order[0] * SLOT_S if self._order else None

    def pop(self, now_s: float) -> tuple[str, float] | None:
        """Take out one key that is due, and when it was; None when there is none."""
        while self._order and self._order[0] * SLOT_S <= now_s:
            slot = self._order[0]
            held = self._slots[slot]
            while held:
                key = held.pop()
                if self._slot_of.get(key) == slot:
                    del self._slot_of[key]
                    return key, slot * SLOT_S
            del self._slots[slot]
            heapq.heappop(self._order)
        return None
