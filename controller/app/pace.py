"""How fast the fleet is read, and what a firewall between would have to remember of it."""

from collections.abc import Mapping
from pathlib import Path

import structlog

from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem, shown
from controller.site.allowance import CONNTRACK_S, connections_per_s
from controller.site.poll import Periods, PollPace
from drivers.contract.devices import MinerDevice
from drivers.registry import MINERS

_log = structlog.get_logger()

_CONNTRACK_MAX_FILE = Path("/proc/sys/net/netfilter/nf_conntrack_max")


def poll_pace(config: SiteConfig, devices: Mapping[str, MinerDevice]) -> PollPace:
    """The pace that `[poll]` asks for. Raises ConfigError for a firmware that no driver speaks."""
    section = config.file.poll
    unknown = [
        Problem(
            file=config.path,
            key=f"poll.firmware[{index}].name",
            value=shown(own.name),
            mend=f"is no firmware that has a driver; use one of: {', '.join(sorted(MINERS))}",
        )
        for index, own in enumerate(section.firmware, 1)
        if own.name not in MINERS
    ]
    if unknown:
        raise ConfigError(unknown)
    own_of = {
        own.name: Periods(period_s=own.period_s, order_period_s=own.order_period_s)
        for own in section.firmware
    }
    return PollPace(
        period_s=section.period_s,
        order_period_s=section.order_period_s,
        own={
            name: own_of[device.profile.firmware]
            for name, device in devices.items()
            if device.profile.firmware in own_of
        },
        reads_max=section.connections_max,
        connections_per_s_max=section.connections_per_s_max,
    )


def say_pace(pace: PollPace, miners: int, conntrack_max_file: Path = _CONNTRACK_MAX_FILE) -> None:
    """Log the estimate; a warning where this machine's own firewall could not remember so many."""
    own = pace.own.values()
    others = miners - len(own)
    usual = connections_per_s(
        [*(it.period_s for it in own), *[pace.period_s] * others], pace.connections_per_s_max
    )
    hastened = connections_per_s(
        [*(it.order_period_s for it in own), *[pace.order_period_s] * others],
        pace.connections_per_s_max,
    )
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
