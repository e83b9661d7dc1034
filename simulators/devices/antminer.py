"""Stock Antminer firmware: cgminer JSON on 4028 for reads, CGI pages behind digest authentication
on 80.

What makes it hard to drive, and is played here:

- it reports no power at all;
- `set_miner_conf.cgi` answers after about 21 s, *before* the reload, and a client that gave up
changes nothing about it;
- the write replaces the whole configuration: a body without pools leaves the miner without pools;
- some units report `bitmain-work-mode` and obey only `miner-mode`; the reply to the other key is
success all the same;
- recent firmware refuses joined commands on 4028, and 4028 is closed while the mining process
restarts.

Sources: asic-rs pull requests 249, 251, 260; replies recorded from an S19 Pro and an S21.
"""

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, ClassVar

from simulators.devices import antminer_replies as replies
from simulators.devices.cgminer import (
    CODE_DEVS,
    CODE_POOLS,
    CODE_STATS,
    CODE_SUMMARY,
    CODE_VERSION,
    CgminerService,
    pool_rows,
)
from simulators.devices.digest import DigestGate, Verdict
from simulators.devices.persona import (
    Answer,
    Close,
    HttpAnswer,
    HttpRequest,
    Persona,
    Pool,
    Unit,
    default_pools,
)
from simulators.physics.miner_models import ANTMINER_CONFIG_WRITE_S

VENDOR_LOGIN = ("root", "root")
REALM = "antMiner Configuration"
MODE_NORMAL = "0"
MODE_SLEEP = "1"
MODES = frozenset({"0", "1", "2", "3"})
"""2 and 3 are a high and a low mode, but public sources disagree which is which: they are stored
and change nothing here."""
POOLS_MAX = 3
RPC_DOWN_S = 10.0
"""How long 4028 refuses connections while the mining process restarts (assumption of the
simulator)."""


class ModeKey(StrEnum):
    """Which key of a written configuration a unit obeys. Every unit *reports*
    `bitmain-work-mode`."""

    MINER_MODE_ONLY = "miner-mode"
    EITHER = "either"
    """`miner-mode` where it is given, else `bitmain-work-mode`."""


class Antminer(Persona):
    """One Antminer under stock firmware."""

    firmware: ClassVar[str] = "antminer-stock"
    services: ClassVar[frozenset[str]] = frozenset({"rpc", "http"})

    def __init__(
        self,
        unit: Unit,
        *,
        mode_key: ModeKey = ModeKey.MINER_MODE_ONLY,
        username: str = VENDOR_LOGIN[0],
        password: str = VENDOR_LOGIN[1],
    ) -> None:
        super().__init__(unit)
        self.mode_key = mode_key
        self.pools: list[Pool] = default_pools(unit)
        self.mode = MODE_NORMAL
        self.fan_manual = False
        self.fan_percent = "100"
        self.blinking = False
        self._gate = DigestGate(REALM, {username: password}, unit.rng.randbytes(16))
        self._writes: list[tuple[float, dict[str, Any]]] = []
        self._rpc_down: list[tuple[float, float]] = []
        self._rpc = CgminerService(
            description="cgminer 1.0.0",
            handlers={
                "version": self._version,
                "summary": self._summary,
                "stats": self._stats,
                "pools": self._pools,
                "devs": self._devs,
            },
            unix_s=self.unix_s,
            joined=False,
            nul=True,
        )
        self._pages: dict[str, Callable[[HttpRequest, float], Any]] = {
            "get_system_info": self._system_info,
            "get_network_info": self._network_info,
            "get_miner_conf": lambda _request, _now_s: self._configuration(),
            "get_blink_status": lambda _request, _now_s: {"blink": self.blinking},
            "blink": self._blink,
            "summary": self._web_summary,
            "stats": self._web_stats,
            "pools": self._web_pools,
        }

    def _listens(self, port_name: str, now_s: float) -> bool:
        self._settle(now_s)
        return port_name != "rpc" or not any(a <= now_s < b for a, b in self._rpc_down)

    def _tcp(self, request: bytes, now_s: float) -> Answer | None:
        return self._rpc.answer(request, now_s)

    def _version(self, _parameter: str, now_s: float) -> dict[str, Any]:
        rows = [replies.version_row(self.model)]
        return self._rpc.envelope("S", CODE_VERSION, "CGMiner versions", now_s, VERSION=rows)

    def _summary(self, _parameter: str, now_s: float) -> dict[str, Any]:
        row = replies.summary_row(self.telemetry(now_s), self.unix_s(now_s))
        return self._rpc.envelope("S", CODE_SUMMARY, "Summary", now_s, SUMMARY=[row])

    def _stats(self, _parameter: str, now_s: float) -> dict[str, Any]:
        head = replies.version_row(self.model)
        del head["API"]
        row = replies.stats_row(self.telemetry(now_s), self.miner.rating, self.mac)
        return self._rpc.envelope("S", CODE_STATS, "CGMiner stats", now_s, STATS=[head, row])

    def _pools(self, _parameter: str, now_s: float) -> dict[str, Any]:
        rows = pool_rows(self.pools, self.telemetry(now_s))
        return self._rpc.envelope("S", CODE_POOLS, f"{len(rows)} Pool(s)", now_s, POOLS=rows)

    def _devs(self, _parameter: str, now_s: float) -> dict[str, Any]:
        row = replies.devs_row(self.telemetry(now_s), self.unix_s(now_s))
        return self._rpc.envelope("S", CODE_DEVS, "1 ASC(s)", now_s, DEVS=[row])

    def _http(self, request: HttpRequest, now_s: float) -> HttpAnswer:
        verdict = self._gate.verdict(request, now_s)
        if verdict is not Verdict.GRANTED:
            challenge = self._gate.challenge(now_s, stale=verdict is Verdict.STALE)
            return HttpAnswer(
                status=401,
                body=b"<html><body><h1>401 Unauthorized</h1></body></html>",
                headers={"WWW-Authenticate": challenge, "Content-Type": "text/html"},
            )
        name = request.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
        if request.path == f"/cgi-bin/{name}.cgi":
            if name == "set_miner_conf" and request.method == "POST":
                return self._write(request.body, now_s)
            if name == "reboot":
                return self._reboot_page(now_s)
            page = self._pages.get(name)
            if page is not None:
                return _json(page(request, now_s))
        status = 200 if request.path == "/" else 404
        body = b"<html><head><title>Antminer</title></head></html>"
        return HttpAnswer(status=status, body=body, headers={"Content-Type": "text/html"})

    def _configuration(self) -> dict[str, Any]:
        return {
            "pools": [{"url": p.url, "user": p.user, "pass": p.password} for p in self.pools],
            "api-listen": True,
            "api-network": True,
            "api-groups": "A:stats:pools:devs:summary:version",
            "api-allow": "A:0/0,W:*",
            "bitmain-fan-ctrl": self.fan_manual,
            "bitmain-fan-pwm": self.fan_percent,
            "bitmain-use-vil": True,
            "bitmain-freq": "525",
            "bitmain-voltage": "1320",
            "bitmain-ccdelay": "0",
            "bitmain-pwth": "3",
            "bitmain-work-mode": self.mode,
            "bitmain-hashrate-percent": "100",
            "bitmain-freq-level": "100",
        }

    def _write(self, body: bytes, now_s: float) -> HttpAnswer:
        """Take a configuration: it is in force, and answered, when the flash is written."""
        try:
            written = json.loads(body)
        except (ValueError, RecursionError):
            written = None
        if not isinstance(written, dict) or not _pools_are_whole(written.get("pools", [])):
            answer = {"stats": "error", "code": "M001", "msg": "Invalid pool!"}
            return _json(answer)
        if not self.miner.deaf:
            done_s = now_s + ANTMINER_CONFIG_WRITE_S
            self._writes.append((done_s, written))
            self._rpc_down = [span for span in self._rpc_down if span[1] > now_s]
            self._rpc_down.append((done_s, done_s + RPC_DOWN_S))
            self._obey(self._mode_of(written), now_s)
        answer = {"stats": "success", "code": "M000", "msg": "OK!"}
        return _json(answer, after_s=ANTMINER_CONFIG_WRITE_S)

    def _mode_of(self, written: dict[str, Any]) -> str:
        """The mode that this unit takes out of a written configuration; normal where it finds
        none."""
        keys = ["miner-mode"]
        if self.mode_key is ModeKey.EITHER:
            keys.append("bitmain-work-mode")
        for key in keys:
            if key in written:
                mode = str(written[key])
                return mode if mode in MODES else MODE_NORMAL
        return MODE_NORMAL if self.mode_key is ModeKey.EITHER else self._mode_in_force()

    def _mode_in_force(self) -> str:
        """A unit that does not find its key goes on as before: the write is a silent no-op to the
        mode."""
        return MODE_SLEEP if self.miner.sleep_wanted else MODE_NORMAL

    def _obey(self, mode: str, now_s: float) -> None:
        if mode == MODE_SLEEP:
            self.miner.sleep(now_s)
        elif self.miner.sleep_wanted:
            self.miner.wake(now_s)
        else:
            self.miner.restart(now_s, dead_s=ANTMINER_CONFIG_WRITE_S)

    def _settle(self, now_s: float) -> None:
        """Bring finished writes into force, oldest first."""
        while self._writes and self._writes[0][0] <= now_s:
            _, written = self._writes.pop(0)
            self.persistent_writes += 1
            self.pools = [
                Pool(url=entry["url"], user=entry["user"], password=entry["pass"])
                for entry in written.get("pools", [])
            ]
            self.fan_manual = written.get("bitmain-fan-ctrl") is True
            self.fan_percent = str(written.get("bitmain-fan-pwm", "100"))
            kept = MODE_NORMAL if self.mode_key is ModeKey.EITHER else self.mode
            reported = written.get("miner-mode", written.get("bitmain-work-mode", kept))
            self.mode = str(reported) if str(reported) in MODES else MODE_NORMAL

    def _reboot_page(self, now_s: float) -> HttpAnswer:
        self.reboot(now_s)
        if self.miner.deaf:
            return _json({"stats": "success", "code": "R000", "msg": "OK!"})
        return HttpAnswer(status=0, body=None, close=Close.RESET)

    def _blink(self, request: HttpRequest, _now_s: float) -> dict[str, str]:
        try:
            wanted = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            return {"code": "B001"}
        on = isinstance(wanted, dict) and str(wanted.get("blink")).lower() == "true"
        if not self.miner.deaf:
            self.blinking = on
        return {"code": "B000" if on else "B100"}

    def _system_info(self, _request: HttpRequest, _now_s: float) -> dict[str, str]:
        return {
            "minertype": self.model,
            **self._network(),
            "system_mode": "GNU/Linux",
            "system_kernel_version": "Linux 4.6.0-xilinx #1 SMP PREEMPT Tue Dec 6 2022",
            "system_filesystem_version": replies.COMPILE_TIME,
            "firmware_type": "Release",
            "serinum": self.serial,
        }

    def _network_info(self, _request: HttpRequest, _now_s: float) -> dict[str, str]:
        return {
            **self._network(),
            "conf_nettype": "DHCP",
            "conf_hostname": "Antminer",
            "conf_ipaddress": "",
            "conf_netmask": "",
            "conf_gateway": "",
            "conf_dnsservers": "",
        }

    def _network(self) -> dict[str, str]:
        return {
            "nettype": "DHCP",
            "netdevice": "eth0",
            "macaddr": self.mac,
            "hostname": "Antminer",
            "ipaddress": self.host,
            "netmask": "255.0.0.0",
            "gateway": "",
            "dnsservers": "",
        }

    def _web_summary(self, _request: HttpRequest, now_s: float) -> dict[str, Any]:
        row = replies.web_summary_row(self.telemetry(now_s), self.miner.rating)
        head = replies.web_head("summary", self.model, self.unix_s(now_s))
        return {**head, "SUMMARY": self._unless_asleep(row)}

    def _web_stats(self, _request: HttpRequest, now_s: float) -> dict[str, Any]:
        telemetry = self.telemetry(now_s)
        row = replies.web_stats_row(telemetry, self.miner.rating, int(self.mode), self.serial)
        head = replies.web_head("stats", self.model, self.unix_s(now_s))
        return {**head, "STATS": self._unless_asleep(row)}

    def _unless_asleep(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """In sleep the CGI pages list nothing (MiningOS, mock of the S19 XP and S21 pages)."""
        return [] if self.miner.level <= 0.0 and self.miner.sleep_wanted else [row]

    def _web_pools(self, _request: HttpRequest, now_s: float) -> dict[str, Any]:
        telemetry = self.telemetry(now_s)
        rows = [
            {
                "index": index,
                "url": pool.url,
                "user": pool.user,
                "status": "Alive",
                "priority": index,
                "accepted": telemetry.accepted if index == 0 else 0,
                "rejected": 0,
                "stale": 0,
                "diff": "524K",
            }
            for index, pool in enumerate(self.pools)
        ]
        return {**replies.web_head("pools", self.model, self.unix_s(now_s)), "POOLS": rows}


def _pools_are_whole(pools: Any) -> bool:
    """At most three entries of text; an empty or missing list is taken, and that is the trap."""
    return (
        isinstance(pools, list)
        and len(pools) <= POOLS_MAX
        and all(
            isinstance(entry, dict)
            and all(isinstance(entry.get(key), str) for key in ("url", "user", "pass"))
            for entry in pools
        )
    )


def _json(document: Any, *, after_s: float = 0.0) -> HttpAnswer:
    return HttpAnswer(
        status=200,
        body=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
        after_s=after_s,
    )
