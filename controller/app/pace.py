"""How fast the fleet is read, and what a firewall between would have to remember of it."""

from pathlib import Path

import structlog

from controller.config.schema import PollSection
from controller.site.allowance import CONNTRACK_S, connections_per_s
from controller.site.poll import PollPace

_log = structlog.get_logger()

_CONNTRACK_MAX_FILE = Path("/proc/sys/net/netfilter/nf_conntrack_max")


def poll_pace(section: PollSection) -> PollPace:
    """The pace that `[poll]` asks for."""
    return PollPace(
        period_s=section.period_s,
        order_period_s=section.order_period_s,
        reads_max=section.connections_max,
        connections_per_s_max=section.connections_per_s_max,
    )


def say_pace(pace: PollPace, miners: int, conntrack_max_file: Path = _CONNTRACK_MAX_FILE) -> None:
    """Log the estimate; a warning where this machine's own firewall could not remember so many."""
    usual = connections_per_s(miners, pace.period_s, pace.connections_per_s_max)
    hastened = connections_per_s(miners, pace.order_period_s, pace.connections_per_s_max)
    entries = round(hastened * CONNTRACK_S)
    _log.info(
        "poll_pace",
        miners=miners,
        connections_per_s=round(usual, 1),
        connections_per_s_in_an_order=round(hastened, 1),
        conntrack_entries=entries,
    )
    try:
        entries_max = int(conntrack_max_file.read_text())
    except (OSError, ValueError):
        return  # no connection tracking here, or none that may be asked
    if entries > entries_max:
        _log.warning(
            "conntrack_too_small",
            conntrack_entries=entries,
            conntrack_max=entries_max,
            mend="raise net.netfilter.nf_conntrack_max, or lower [poll] connections_per_s_max",
        )
