"""A relay output with a watchdog of its own: it holds a contactor while its coil keeps changing.

A change of the coil, in whichever direction, restarts a timer; when it runs out the output falls.
`ModbusDevice` puts it on the wire.
"""

from collections.abc import Callable

from simulators.devices.modbus import ILLEGAL_ADDRESS, MeterFault, RegisterError


class WatchdogRelay:
    """One coil and the contactor behind it. `now_s`: the clock that its timer runs by."""

    def __init__(self, coil: int, window_s: float, now_s: Callable[[], float]) -> None:
        self.changes = 0
        """How often the coil has changed."""
        self._coil = coil
        self._window_s = window_s
        self._now_s = now_s
        self._on = False
        self._changed_s: float | None = None

    @property
    def closed(self) -> bool:
        """Whether the contactor is held."""
        changed_s = self._changed_s
        return changed_s is not None and self._now_s() - changed_s <= self._window_s

    def read(
        self,
        function: int,  # noqa: ARG002 - refuses all
        address: int,  # noqa: ARG002
        count: int,  # noqa: ARG002
        now_s: float,  # noqa: ARG002
        fault: MeterFault | None,  # noqa: ARG002
    ) -> tuple[int, ...]:
        """It has no registers. Raises RegisterError."""
        raise RegisterError(ILLEGAL_ADDRESS)

    def write(self, address: int, words: tuple[int, ...]) -> None:  # noqa: ARG002 - refuses all
        """It has no registers. Raises RegisterError."""
        raise RegisterError(ILLEGAL_ADDRESS)

    def write_coil(self, address: int, *, on: bool) -> None:
        """Take the coil; the same state again restarts nothing. Raises RegisterError."""
        if address != self._coil:
            raise RegisterError(ILLEGAL_ADDRESS)
        if on is not self._on:
            self._on, self._changed_s = on, self._now_s()
            self.changes += 1
