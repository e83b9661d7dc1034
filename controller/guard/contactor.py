"""What still draws that should sleep: the guard's own account, by which a contactor falls. Pure."""

from collections.abc import Collection

from controller.channel.guard import Ladder

_ROUNDING_W = 1.0


def overdue_w(ladder: Ladder, limit_w: float, sleeping: Collection[str]) -> float:
    """What draws above the limit and could sleep, in W: miners that refuse, that cannot be reached,
    that no driver of the guard commands. The floor is nobody's fault.
    """
    awake_w = sum(e.power_w for e in ladder.entries if e.miner_id not in sleeping)
    over_w = awake_w - max(0.0, limit_w - ladder.floor_w)
    return over_w if over_w > _ROUNDING_W else 0.0
