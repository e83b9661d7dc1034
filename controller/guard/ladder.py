"""Which miners go next, so that the load comes under a limit. Pure."""

from collections.abc import Collection

from controller.channel.guard import Entry, Ladder


def to_shed(
    ladder: Ladder, limit_w: float, gone: Collection[str], resting: Collection[str]
) -> tuple[Entry, ...]:
    """The next entries, in order, until what is left standing is within `limit_w`.

    `gone`: those whose command is under way or done; they count as off. `resting`: those that
    failed just now; they are not asked, but what they draw still stands, so others go for them.
    """
    standing_w = ladder.load_w - sum(e.power_w for e in ladder.entries if e.miner_id in gone)
    chosen: list[Entry] = []
    for entry in ladder.entries:
        if standing_w <= limit_w:
            break
        if entry.power_w > 0.0 and entry.miner_id not in gone and entry.miner_id not in resting:
            chosen.append(entry)
            standing_w -= entry.power_w
    return tuple(chosen)
