"""A ladder on its way: it comes in parts, in order, and is whole only when its digest fits."""

from controller.channel.frames import RequestRefused
from controller.channel.guard import (
    LADDER_PART_ENTRIES,
    LADDER_PARTS_MAX,
    Ladder,
    LadderPart,
    ladder_sha256,
)


class Parts:
    """The parts of at most one ladder."""

    def __init__(self) -> None:
        self._parts: list[LadderPart] = []

    def add(self, part: LadderPart) -> Ladder | None:
        """The whole ladder when this was its last part. Raises RequestRefused."""
        first = self._parts[0] if self._parts else None
        if part.part == 0:
            self._parts = []
        elif first is None or (first.sha256, first.parts) != (part.sha256, part.parts):
            raise RequestRefused("this part belongs to no ladder that was begun; begin with part 0")
        if not (
            part.part == len(self._parts) < part.parts <= LADDER_PARTS_MAX
            and len(part.entries) <= LADDER_PART_ENTRIES
        ):
            self._parts = []
            raise RequestRefused("a ladder's parts come in order, each within its bound")
        self._parts.append(part)
        if len(self._parts) < part.parts:
            return None
        entries = tuple(entry for one in self._parts for entry in one.entries)
        self._parts = []
        ladder = Ladder(
            site_id=part.site_id, epoch=part.epoch, floor_w=part.floor_w, entries=entries
        )
        if ladder_sha256(ladder) != part.sha256:
            raise RequestRefused("the ladder's digest does not fit its content")
        return ladder
