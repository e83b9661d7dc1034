"""The question for past series of the site, and its answer; asked over the same channel as acts."""

import msgspec

SPAN_S_MAX = 400 * 86_400.0
POINTS_MAX = 1_000


class ReadHistory(msgspec.Struct, frozen=True, kw_only=True, tag="history"):
    """The last `span_s` seconds, in at most `points` steps of equal length."""

    span_s: float
    points: int = 600


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True, tag="series"):
    """Means over each step, the oldest first; None where nothing was known.

    `at_unix_s` is each step's begin. `series` are named `<node>/<field>` and `site/<field>`, the
    field's unit last: `plant/measured_w`, `plant/limit_w`, `site/frequency_hz`,
    `site/hashrate_ths`. Each is as long as `at_unix_s`.
    """

    at_unix_s: list[float]
    step_s: float
    series: dict[str, list[float | None]]
