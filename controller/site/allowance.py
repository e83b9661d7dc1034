"""How many connections a second polling may open: politeness towards stateful firewalls. Pure."""

from collections.abc import Callable, Iterable

CONNTRACK_S = 120.0
"""How long a stateful firewall remembers a connection that was closed (netfilter's default)."""

_CONNECTIONS_A_READ = 1.2
"""One for the live values, and now and then more for what changes slowly; measured over the fleet
of `naryn bench poll`.
"""
_BURST_S = 0.1
"""What was not used is saved up for so long; what was used too much delays reads by no more."""


def connections_per_s(periods_s: Iterable[float], per_s_max: float) -> float:
    """About how many connections reading opens in a second, by the period of each miner."""
    return min(_CONNECTIONS_A_READ * sum(1.0 / period_s for period_s in periods_s), per_s_max)


class Allowance:
    """A bucket that fills at `per_s`; `opened` tells how many connections were begun so far."""

    def __init__(self, per_s: float, opened: Callable[[], int], now_s: float) -> None:
        self._per_s = per_s
        self._opened = opened
        self._counted = opened()
        self._left = per_s * _BURST_S
        self._filled_s = now_s

    def fill(self, now_s: float) -> None:
        """Let time pass, and count what was opened beyond one connection a read."""
        opened, most = self._opened(), self._per_s * _BURST_S
        left = self._left + (now_s - self._filled_s) * self._per_s - max(0, opened - self._counted)
        self._left = min(max(left, -most), most)
        self._counted = max(self._counted, opened)
        self._filled_s = now_s

    def take(self) -> bool:
        """Whether one more read may begin now."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        self._counted += 1
        return True
