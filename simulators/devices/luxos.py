"""LuxOS on TCP 4028: cgminer's reads, Luxor's own, and writes that need a session.

A session is a lock, not security: `logon` gives an id where no other session lives, every use
renews it for a minute, and whoever asks `session` may read another's id. Source: docs.luxor.tech,
«LUXminer commands» and «Sessions»; shapes as recorded from an S19k Pro under 2025.4.8. Codes of
refusals are not published: those here are the simulator's.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from simulators.devices import luxos_replies as replies
from simulators.devices.cgminer import (
    CODE_CONFIG,
    CODE_DEVDETAILS,
    CODE_DEVS,
    CODE_POOLS,
    CODE_STATS,
    CODE_SUMMARY,
    CODE_VERSION,
    CgminerService,
    pool_rows,
)
from simulators.devices.luxos_replies import Profile
from simulators.devices.persona import (
    Answer,
    HttpAnswer,
    HttpRequest,
    Persona,
    Pool,
    Unit,
    default_pools,
)

SESSION_LIFE_S = 60.0
CODE_TEMPS, CODE_FANS, CODE_GROUPS, CODE_TEMPCTRL = 201, 202, 206, 207
CODE_POWER, CODE_SESSION_CREATED, CODE_SESSION_ENDED, CODE_SESSION = 311, 316, 318, 319
CODE_PROFILE_SET, CODE_PROFILES, CODE_LIMITS = 321, 323, 337
CODE_CURTAIL, CODE_ATM, CODE_ATM_SET = 335, 339, 340
CODE_REBOOT, CODE_LED, CODE_EVENTS = 312, 326, 357
CODE_REFUSED = 402
"""For a missing session, a taken one, and a bad parameter (the simulator's own number)."""
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

Document = dict[str, Any]


class LuxosRefusalError(ValueError):
    """A write that is not carried out; the message goes into the reply."""


class Luxos(Persona):
    """One Antminer under LuxOS."""

    firmware: ClassVar[str] = "luxos"
    services: ClassVar[frozenset[str]] = frozenset({"rpc", "http"})

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit)
        self.pools: list[Pool] = default_pools(unit)
        self.profiles = replies.profiles_of(unit.miner.rating)
        self.profile = next(p for p in self.profiles if p.step == 0)
        self.atm = replies.atm_row()
        self.red_led = "auto"
        self.session_id = ""
        self._session_ends_s = float("-inf")
        reads: dict[str, Callable[[str, float], Document]] = {
            "version": self._version,
            "summary": self._summary,
            "stats": self._stats,
            "devs": self._devs,
            "edevs": self._devs,
            "devdetails": self._devdetails,
            "pools": self._pools,
            "config": self._config,
            "power": self._power,
            "temps": self._temps,
            "fans": self._fans,
            "profiles": self._profiles,
            "groups": self._groups,
            "tempctrl": self._tempctrl,
            "atm": self._atm,
            "limits": self._limits,
            "events": self._events,
            "session": self._session,
            "logon": self._logon,
        }
        writes: dict[str, Callable[[list[str], float], Document]] = {
            "logoff": self._logoff,
            "curtail": self._curtail,
            "profileset": self._profileset,
            "atmset": self._atmset,
            "ledset": self._ledset,
            "rebootdevice": self._rebootdevice,
            "resetminer": self._resetminer,
        }
        self._rpc = CgminerService(
            description=replies.DESCRIPTION,
            handlers={**reads, **{name: self._guarded(write) for name, write in writes.items()}},
            unix_s=self.unix_s,
            joined=True,
            nul=True,
        )

    def _tcp(self, request: bytes, now_s: float) -> Answer | None:
        return self._rpc.answer(request, now_s)

    def _http(self, request: HttpRequest, _now_s: float) -> HttpAnswer:
        body = (
            b"<!doctype html><html><head><title>Luxor Firmware</title></head><body></body></html>"
        )
        status = 200 if request.path == "/" else 404
        return HttpAnswer(status=status, body=body, headers={"Content-Type": "text/html"})

    def _guarded(
        self, write: Callable[[list[str], float], Document]
    ) -> Callable[[str, float], Document]:
        """Ask for the session id, the first of the comma-separated parameters, and renew the
        session."""

        def handler(parameter: str, now_s: float) -> Document:
            session_id, *arguments = parameter.split(",")
            if not session_id or session_id != self._live_session(now_s):
                return self._rpc.error(CODE_REFUSED, "Invalid session id", now_s)
            self._session_ends_s = now_s + SESSION_LIFE_S
            try:
                return write(arguments, now_s)
            except LuxosRefusalError as refusal:
                return self._rpc.error(CODE_REFUSED, str(refusal), now_s)

        return handler

    def _live_session(self, now_s: float) -> str:
        """Id of the session in force, "" when there is none."""
        if now_s >= self._session_ends_s:
            self.session_id = ""
        return self.session_id

    def _session(self, _parameter: str, now_s: float) -> Document:
        rows = [{"SessionID": self._live_session(now_s)}]
        return self._rpc.envelope("S", CODE_SESSION, "Session information", now_s, SESSION=rows)

    def _logon(self, _parameter: str, now_s: float) -> Document:
        if self._live_session(now_s):
            return self._rpc.error(CODE_REFUSED, "Another session is active", now_s)
        self.session_id = "".join(self.unit.rng.choice(_ID_LETTERS) for _ in range(8))
        self._session_ends_s = now_s + SESSION_LIFE_S
        rows = [{"SessionID": self.session_id}]
        return self._rpc.envelope("S", CODE_SESSION_CREATED, "Session created", now_s, SESSION=rows)

    def _logoff(self, _arguments: list[str], now_s: float) -> Document:
        self._session_ends_s = now_s
        return self._rpc.envelope("S", CODE_SESSION_ENDED, "Session deleted", now_s)

    def _curtail(self, arguments: list[str], now_s: float) -> Document:
        """Sleep or wake. Sleep outlasts a restart; `wakeup` alone ends it (newer documentation)."""
        action = arguments[0] if arguments else ""
        if action == "sleep":
            self._count_write(changes=not self.miner.sleep_wanted)
            self.miner.sleep(now_s)
            done = "sleep mode"
        elif action == "wakeup":
            self._count_write(changes=self.miner.sleep_wanted)
            self.miner.wake(now_s)
            done = "wake up"
        else:
            raise LuxosRefusalError(f"Unknown curtailment action '{action[:32]}'")
        rows = [{"Action": done}]
        return self._rpc.envelope(
            "S", CODE_CURTAIL, "Curtailment command sent", now_s, CURTAIL=rows
        )

    def _profileset(self, arguments: list[str], now_s: float) -> Document:
        """Set a profile by its name or by watts («2500W»: the strongest that needs no more)."""
        if self.atm["Enabled"]:
            raise LuxosRefusalError("Cannot set profile while ATM is enabled")
        profile = self._profile_of(arguments[0] if arguments else "")
        if not self.miner.deaf:
            self.profile = profile
        self._count_write(changes=True)
        self.miner.limit(now_s, profile.power_w if profile.step else None)
        rows = [{"Board": 0, "FrequencyStep": 5, "Profile": profile.name, "VoltageStep": 0.05}]
        return self._rpc.envelope("S", CODE_PROFILE_SET, "Profile Set", now_s, PROFILE=rows)

    def _profile_of(self, wanted: str) -> Profile:
        for profile in self.profiles:
            if profile.name == wanted:
                return profile
        digits = wanted.removesuffix("W")
        if digits != wanted and digits.isascii() and digits.isdigit() and len(digits) <= 6:
            fitting = [profile for profile in self.profiles if profile.power_w <= int(digits)]
            if fitting:
                return max(fitting, key=lambda profile: profile.power_w)
        raise LuxosRefusalError(f"Profile '{wanted[:32]}' not found")

    def _atmset(self, arguments: list[str], now_s: float) -> Document:
        changes = dict(self._atm_setting(argument) for argument in arguments)
        if not self.miner.deaf:
            self.atm.update(changes)
        self._count_write(changes=True)
        message = "Advanced Thermal Management configuration updated"
        return self._rpc.envelope("S", CODE_ATM_SET, message, now_s)

    def _atm_setting(self, argument: str) -> tuple[str, bool | int | str]:
        """Read one `key=value`. Raises LuxosRefusalError."""
        key, _, value = argument.partition("=")
        if key == "enabled" and value in {"true", "false"}:
            return "Enabled", value == "true"
        shown = replies.ATM_KEYS.get(key)
        if shown is not None:
            if not key.endswith("_profile"):
                if value.isascii() and value.isdigit() and len(value) <= 4:
                    return shown, int(value)
            elif (not value and key == "min_profile") or any(
                profile.name == value for profile in self.profiles
            ):
                return shown, value
        raise LuxosRefusalError(f"Invalid ATM setting '{argument[:48]}'")

    def _ledset(self, arguments: list[str], now_s: float) -> Document:
        if len(arguments) != 2 or arguments[0] not in {"red", "green"}:
            raise LuxosRefusalError("Invalid LED")
        if arguments[0] == "red" and not self.miner.deaf:
            self.red_led = arguments[1][:16]
        return self._rpc.envelope("S", CODE_LED, "LED set", now_s)

    def _rebootdevice(self, _arguments: list[str], now_s: float) -> Document:
        self.reboot(now_s)
        return self._rpc.envelope("S", CODE_REBOOT, "Reboot Scheduled", now_s)

    def _resetminer(self, _arguments: list[str], now_s: float) -> Document:
        self.miner.restart(now_s)
        return self._rpc.envelope("S", CODE_REBOOT, "Miner reset", now_s)

    def _count_write(self, *, changes: bool) -> None:
        """Settings are saved at once (autosave is the default)."""
        if changes and not self.miner.deaf:
            self.persistent_writes += 1

    def _version(self, _parameter: str, now_s: float) -> Document:
        rows = [replies.version_row(self.model)]
        return self._rpc.envelope("S", CODE_VERSION, "LUXminer versions", now_s, VERSION=rows)

    def _summary(self, _parameter: str, now_s: float) -> Document:
        rows = [replies.summary_row(self.telemetry(now_s), self.unix_s(now_s))]
        return self._rpc.envelope("S", CODE_SUMMARY, "Summary", now_s, SUMMARY=rows)

    def _stats(self, _parameter: str, now_s: float) -> Document:
        rows = replies.stats_rows(self.telemetry(now_s), self.miner.rating, self.mac)
        return self._rpc.envelope("S", CODE_STATS, "LUXminer stats", now_s, STATS=rows)

    def _devs(self, _parameter: str, now_s: float) -> Document:
        telemetry, unix_s = self.telemetry(now_s), self.unix_s(now_s)
        rows = replies.devs_rows(telemetry, self.miner.rating, self.profile.name, unix_s)
        return self._rpc.envelope("S", CODE_DEVS, f"{len(rows)} ASC(s)", now_s, DEVS=rows)

    def _devdetails(self, _parameter: str, now_s: float) -> Document:
        rows = replies.devdetails_rows(self.miner.rating)
        return self._rpc.envelope("S", CODE_DEVDETAILS, "Device Details", now_s, DEVDETAILS=rows)

    def _pools(self, _parameter: str, now_s: float) -> Document:
        rows = pool_rows(self.pools, self.telemetry(now_s))
        for row in rows:
            row["GROUP"] = 0
        return self._rpc.envelope("S", CODE_POOLS, f"{len(rows)} Pool(s)", now_s, POOLS=rows)

    def _config(self, _parameter: str, now_s: float) -> Document:
        row = replies.config_row(self.model, self.host, self.mac, self.serial)
        asleep = self.miner.sleep_wanted
        row["NameplateTHS"] = self.miner.rating.hashrate_ths
        row["Pool Count"] = len(self.pools)
        row["CurtailMode"] = "Sleep" if asleep else "None"
        row["IsPowerSupplyOn"] = not asleep
        row["IsAtmEnabled"] = self.atm["Enabled"]
        row["Profile"] = self.profile.name
        row["ProfileStep"] = f"{self.profile.step:+d}" if self.profile.step else "0"
        row["RedLed"] = self.red_led
        return self._rpc.envelope("S", CODE_CONFIG, "LUXminer config", now_s, CONFIG=[row])

    def _power(self, _parameter: str, now_s: float) -> Document:
        rows = [{"PSU": False, "Watts": round(self.telemetry(now_s).power_w)}]
        return self._rpc.envelope("S", CODE_POWER, "Power usage", now_s, POWER=rows)

    def _temps(self, _parameter: str, now_s: float) -> Document:
        rows = replies.temps_rows(self.telemetry(now_s), self.miner.rating.boards)
        return self._rpc.envelope("S", CODE_TEMPS, f"{len(rows)} Temp(s)", now_s, TEMPS=rows)

    def _fans(self, _parameter: str, now_s: float) -> Document:
        rows = replies.fans_rows(self.telemetry(now_s), self.miner.rating.fans)
        control = [{"MinFans": 3, "PowerOffSpeed": 20}]
        message = f"{len(rows)} Fan(s)"
        return self._rpc.envelope("S", CODE_FANS, message, now_s, FANCTRL=control, FANS=rows)

    def _profiles(self, _parameter: str, now_s: float) -> Document:
        rows = [replies.profile_row(profile) for profile in self.profiles]
        return self._rpc.envelope("S", CODE_PROFILES, "List profiles", now_s, PROFILES=rows)

    def _groups(self, _parameter: str, now_s: float) -> Document:
        rows = [{"GROUP": 0, "Name": "default", "Pools": len(self.pools), "Quota": 1}]
        return self._rpc.envelope("S", CODE_GROUPS, "1 Group(s)", now_s, GROUPS=rows)

    def _tempctrl(self, _parameter: str, now_s: float) -> Document:
        rows = [{"Mode": "Automatic", "Target": 65.0, "Hot": 70.0, "Dangerous": 75.0}]
        return self._rpc.envelope("S", CODE_TEMPCTRL, "Temperature control", now_s, TEMPCTRL=rows)

    def _atm(self, _parameter: str, now_s: float) -> Document:
        rows = [dict(self.atm)]
        message = "ATM configuration values"
        return self._rpc.envelope("S", CODE_ATM, message, now_s, ATM=rows)

    def _limits(self, _parameter: str, now_s: float) -> Document:
        rows = [dict(replies.LIMITS)]
        return self._rpc.envelope("S", CODE_LIMITS, "Limits", now_s, LIMITS=rows)

    def _events(self, _parameter: str, now_s: float) -> Document:
        rows = []
        if self.miner.sleep_wanted:
            rows.append({"Code": "SLEEP", "Description": "Miner is sleeping.", "Target": "MINER"})
        return self._rpc.envelope("S", CODE_EVENTS, "Miner Events", now_s, EVENTS=rows)
