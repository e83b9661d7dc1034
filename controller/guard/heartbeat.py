"""Beats at a relay or PLC whose own watchdog drops the miners' contactor when the beats stop.

    the guard's loop ── feeds, each step ──▶ Heartbeat ── coil on, off, on, … ──▶ relay

The beats stop with the process, with its loop, and when the guard says that they must. Nothing
else is ever written, and nothing waits for the relay.
"""

import asyncio

import structlog

from controller.channel.guard import RelayView
from drivers.contract.errors import DeviceError
from drivers.transport.ports import Clock, Coils, Endpoint

_log = structlog.get_logger()

FED_S = 2.0
"""A guard that has not come round for so long does not guard."""


class Heartbeat:
    """The beats for one coil. `run` lives as long as the process."""

    def __init__(
        self,
        coils: Coils,
        endpoint: Endpoint,
        *,
        unit_id: int,
        coil: int,
        period_s: float,
        grace_s: float,
        clock: Clock,
    ) -> None:
        """`coil`: the 0-based wire address. `grace_s`: how long, at the curve's end, miners that
        should sleep may draw too much before the guard stops the beats.
        """
        self.grace_s = grace_s
        self._coils = coils
        self._endpoint = endpoint
        self._unit_id = unit_id
        self._coil = coil
        self._period_s = period_s
        self._clock = clock
        self._fed_s: float | None = None
        self._still: str | None = "the guard has not looked yet"
        self._on = False
        self._took_s: float | None = None
        self._trouble: str | None = None

    def feed(self, still: str | None) -> None:
        """The guard has come round. `still`: why no beat may leave, None when it may."""
        self._fed_s, self._still = self._clock.monotonic_s(), still

    def view(self) -> RelayView:
        """The beats at this moment."""
        took_s = self._took_s
        ago_s = None if took_s is None else self._clock.monotonic_s() - took_s
        return RelayView(took_ago_s=ago_s, still=self._still)

    def alarms(self) -> list[str]:
        """What people must know of the relay."""
        if self._still is not None:
            return [f"no beats for the relay: {self._still}"]
        if self._trouble is not None:
            return [
                f"the last beat did not reach the relay, its contactor may fall: {self._trouble}"
            ]
        return []

    async def run(self) -> None:
        """Beat for ever, while fed."""
        while True:
            begun_s = self._clock.monotonic_s()
            if self._is_fed(begun_s):
                await self._beat()
            took_s = self._clock.monotonic_s() - begun_s
            await asyncio.sleep(max(0.0, self._period_s - took_s))

    def _is_fed(self, now_s: float) -> bool:
        fed_s = self._fed_s
        return self._still is None and fed_s is not None and now_s - fed_s <= FED_S

    async def _beat(self) -> None:
        self._on = not self._on
        trouble = None
        try:
            await self._coils.write_coil(
                self._endpoint,
                unit_id=self._unit_id,
                address=self._coil,
                on=self._on,
                timeout_s=self._period_s,
            )
            self._took_s = self._clock.monotonic_s()
        except DeviceError as error:
            trouble = str(error)
        except Exception as error:  # noqa: BLE001 - the guard goes on, whatever the relay does
            _log.exception("relay_failed")
            trouble = repr(error)
        if trouble is None and self._trouble is not None:
            _log.info("relay_takes_beats")
        if trouble is not None and self._trouble is None:
            _log.error("relay_lost", error=trouble)
        self._trouble = trouble
