"""When a miner is asked what changes slowly. Pure."""

from zlib import crc32

_SHORTER_MAX = 0.25


def own_period_s(miner_id: str, period_s: float) -> float:
    """Return a period of this miner's own, up to a quarter shorter than `period_s`.

    A fleet is started together; asked together once a minute, it would cost its minute in one
    breath for ever.
    """
    return period_s * (1.0 - _SHORTER_MAX * crc32(miner_id.encode()) / 2**32)
