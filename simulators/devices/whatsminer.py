"""MicroBT WhatsMiner, API version 2 on TCP 4028: plain reads, encrypted writes behind a token.

Source: MicroBT, WhatsMiner API V2.0.5 (commands, message codes, cipher); shapes of the replies as
recorded from an M50S. What happens where the manual is silent is marked as the simulator's
assumption.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from simulators.devices import whatsminer_replies as replies
from simulators.devices.cgminer import (
    CODE_DEVDETAILS,
    CODE_DEVS,
    CODE_MISSING_COMMAND,
    CODE_POOLS,
    CODE_SUMMARY,
    CgminerService,
    InvalidRequestError,
    parse_request,
    pool_rows,
)
from simulators.devices.persona import (
    Answer,
    HttpAnswer,
    HttpRequest,
    Persona,
    Pool,
    Unit,
    default_pools,
)
from simulators.devices.whatsminer_cipher import decrypt, encrypt, md5crypt, sign_of

CODE_INVALID_COMMAND = 14
CODE_INVALID_JSON = 23
CODE_PERMISSION_DENIED = 45
CODE_OK = 131
CODE_COMMAND_ERROR = 132
CODE_TOKEN_OK = 134
CODE_TOKEN_ERROR = 135
CODE_TOKENS_EXHAUSTED = 136
CODE_BASE64_ERROR = 137

VENDOR_LOGIN = ("admin", "admin")
TOKEN_LIFE_S = 30 * 60.0
TOKENS_MAX = 100
POWER_LIMIT_W_MAX = 99_999
LOW_POWER_SHARE = 0.75
"""Low mode's share of the normal power (assumption of the simulator; high mode stays at the
nameplate)."""
_SALT_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Token:
    sign: str
    expires_s: float


class WriteRefusedError(ValueError):
    """A write that is not carried out, with the vendor's message code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Whatsminer(Persona):
    """One WhatsMiner. `api_open` False: the write API is switched off, as it is delivered."""

    firmware: ClassVar[str] = "whatsminer-v2"
    services: ClassVar[frozenset[str]] = frozenset({"rpc", "http"})

    def __init__(
        self,
        unit: Unit,
        *,
        password: str = VENDOR_LOGIN[1],
        api_open: bool = True,
        tokens_max: int = TOKENS_MAX,
    ) -> None:
        super().__init__(unit)
        self.api_open = api_open
        self.pools: list[Pool] = default_pools(unit)
        self.power_mode = "Normal"
        self.power_limit_w = round(unit.miner.rating.power_w)
        self.percent = 100
        self.fast_boot = True
        self.led_auto = True
        self._salt = self._random_salt()
        self._key = md5crypt(password, self._salt)
        self._tokens: list[_Token] = []
        self._tokens_max = tokens_max
        self._rpc = CgminerService(
            description="btminer",
            handlers={
                "summary": self._summary,
                "devs": self._devs,
                "edevs": self._devs,
                "pools": self._pools,
                "devdetails": self._devdetails,
            },
            unix_s=self.unix_s,
            joined=True,
            nul=False,
        )
        self._reads: dict[str, Callable[[float], Document]] = {
            "get_token": self._get_token,
            "get_version": lambda now_s: self._ok(replies.version(), now_s),
            "get_miner_info": lambda now_s: self._ok(self._miner_info(), now_s),
            "get_psu": lambda now_s: self._ok(replies.psu(self.telemetry(now_s)), now_s),
            "get_error_code": lambda now_s: self._ok({"error_code": []}, now_s),
            "status": lambda now_s: self._ok(self._status(), now_s),
        }
        self._writes: dict[str, Callable[[Mapping[str, Any], float], float]] = {
            "power_off": self._power_off,
            "power_on": self._power_on,
            "set_power_pct": self._set_power_pct,
            "adjust_power_limit": self._adjust_power_limit,
            "set_low_power": lambda _body, now_s: self._set_mode("Low", now_s),
            "set_normal_power": lambda _body, now_s: self._set_mode("Normal", now_s),
            "set_high_power": lambda _body, now_s: self._set_mode("High", now_s),
            "restart_btminer": self._restart,
            "reboot": self._reboot,
            "update_pools": self._update_pools,
            "set_led": self._set_led,
            "enable_btminer_fast_boot": lambda _body, _now_s: self._set_fast_boot(on=True),
            "disable_btminer_fast_boot": lambda _body, _now_s: self._set_fast_boot(on=False),
        }

    def _http(self, request: HttpRequest, _now_s: float) -> HttpAnswer:
        """The web pages live on HTTPS: port 80 only sends there."""
        location = f"https://{self.host}{request.target}"
        return HttpAnswer(status=307, body=b"", headers={"Location": location})

    def _tcp(self, request: bytes, now_s: float) -> Answer | None:
        try:
            parsed = parse_request(request)
        except InvalidRequestError as problem:
            if problem.code == CODE_MISSING_COMMAND and b'"enc"' in request:
                return self._encrypted(request, now_s)
            return self._plain(self._no(problem.code, str(problem), now_s))
        if parsed is None:
            return None
        read = self._reads.get(parsed.command)
        if read is not None:
            return self._plain(read(now_s))
        if parsed.command in self._writes:
            return self._plain(self._no(CODE_PERMISSION_DENIED, "can't access write cmd", now_s))
        if not set(parsed.command.split("+")) <= set(self._rpc.handlers):
            return self._plain(self._no(CODE_INVALID_COMMAND, "invalid cmd", now_s))
        return self._rpc.answer(request, now_s)

    def _encrypted(self, request: bytes, now_s: float) -> Answer:
        """A write: `{"enc":1,"data":…}`; once the token is good, the reply is encrypted too."""
        try:
            body = self._opened(request, now_s)
        except WriteRefusedError as refusal:
            return self._plain(self._no(refusal.code, str(refusal), now_s))
        after_s = 0.0
        try:
            after_s = self._carry_out(body, now_s)
            document = self._ok("API command OK", now_s)
        except WriteRefusedError as refusal:
            document = self._no(refusal.code, str(refusal), now_s)
        sealed = encrypt(self._key, json.dumps(document).encode())
        return Answer(json.dumps({"enc": sealed}).encode(), after_s)

    def _opened(self, request: bytes, now_s: float) -> dict[str, Any]:
        """Decrypt and check the token. Raises WriteRefusedError."""
        envelope = json.loads(request.strip(b"\0\r\n\t "))
        data = envelope.get("data")
        if not isinstance(data, str):
            raise WriteRefusedError(CODE_INVALID_JSON, "invalid JSON message")
        if not self.api_open:
            raise WriteRefusedError(CODE_PERMISSION_DENIED, "can't access write cmd")
        try:
            text = decrypt(self._key, data)
        except ValueError as problem:
            raise WriteRefusedError(CODE_BASE64_ERROR, "base64 decode error") from problem
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as problem:
            # A wrong password gives a wrong key, hence nonsense.
            raise WriteRefusedError(CODE_INVALID_JSON, "enc json load err") from problem
        self._tokens = [token for token in self._tokens if token.expires_s > now_s]
        sign = body.get("token") if isinstance(body, dict) else None
        if not any(token.sign == sign for token in self._tokens):
            raise WriteRefusedError(CODE_TOKEN_ERROR, "check token err")
        return dict(body)

    def _carry_out(self, body: Mapping[str, Any], now_s: float) -> float:
        """Obey; returns when the reply leaves, in seconds from now. Raises WriteRefusedError."""
        name = body.get("cmd", body.get("command"))
        write = self._writes.get(name) if isinstance(name, str) else None
        if write is None:
            raise WriteRefusedError(CODE_INVALID_COMMAND, "invalid cmd")
        return write(body, now_s)

    def _get_token(self, now_s: float) -> Document:
        self._tokens = [token for token in self._tokens if token.expires_s > now_s]
        if len(self._tokens) >= self._tokens_max:
            return self._no(CODE_TOKENS_EXHAUSTED, "over max connect", now_s)
        time = f"{self.unix_s(now_s) % 10_000:04d}"
        newsalt = self._random_salt()
        sign = sign_of(self._key, time, newsalt)
        self._tokens.append(_Token(sign, now_s + TOKEN_LIFE_S))
        message = {"time": time, "salt": self._salt, "newsalt": newsalt}
        return self._message("S", CODE_TOKEN_OK, message, now_s)

    def _power_off(self, body: Mapping[str, Any], now_s: float) -> float:
        """Cut the hashboards. `respbefore` says whether the reply leaves before or after."""
        respond_before = body.get("respbefore")
        if respond_before not in {"true", "false"}:
            raise WriteRefusedError(CODE_COMMAND_ERROR, "invalid respbefore")
        self.miner.sleep(now_s)
        timings = self.miner.timings
        return 0.0 if respond_before == "true" else timings.down_dead_s + timings.down_ramp_s

    def _power_on(self, _body: Mapping[str, Any], now_s: float) -> float:
        self.miner.wake(now_s)
        return 0.0

    def _set_power_pct(self, body: Mapping[str, Any], now_s: float) -> float:
        """Temporary: lost by a restart, and not written to flash."""
        percent = _whole_number(body.get("percent"), 100)
        if not self.miner.deaf:
            self.percent = percent
        self.miner.scale(now_s, percent / 100.0)
        return 0.0

    def _adjust_power_limit(self, body: Mapping[str, Any], now_s: float) -> float:
        limit_w = _whole_number(body.get("power_limit"), POWER_LIMIT_W_MAX)
        if not self.miner.deaf:
            self.power_limit_w = limit_w
            self.persistent_writes += 1
        self._apply_limit(now_s)
        return 0.0

    def _set_mode(self, mode: str, now_s: float) -> float:
        if not self.miner.deaf:
            self.power_mode = mode
            self.persistent_writes += 1
        self._apply_limit(now_s)
        return 0.0

    def _apply_limit(self, now_s: float) -> None:
        """Both the limit and the mode restart the miner."""
        if self.miner.deaf:
            return
        self.percent = 100
        share = LOW_POWER_SHARE if self.power_mode == "Low" else 1.0
        self.miner.limit(now_s, min(float(self.power_limit_w), share * self.miner.full_power_w))

    def _restart(self, _body: Mapping[str, Any], now_s: float) -> float:
        self.miner.restart(now_s)
        return 0.0

    def _reboot(self, _body: Mapping[str, Any], now_s: float) -> float:
        """A boot starts mining whatever went before (`enable_btminer_init` is the default;
        assumption)."""
        self.reboot(now_s, wakes=True)
        return 0.0

    def _update_pools(self, body: Mapping[str, Any], now_s: float) -> float:
        pools = []
        for index in ("1", "2", "3"):
            fields = [body.get(name + index, "") for name in ("pool", "worker", "passwd")]
            if not all(isinstance(field, str) for field in fields):
                raise WriteRefusedError(CODE_COMMAND_ERROR, "API command ERROR")
            pools.append(Pool(*fields))
        if not self.miner.deaf:
            self.pools = pools
            self.persistent_writes += 1
        self.miner.restart(now_s)
        return 0.0

    def _set_led(self, body: Mapping[str, Any], _now_s: float) -> float:
        if not self.miner.deaf:
            self.led_auto = body.get("param") == "auto"
        return 0.0

    def _set_fast_boot(self, *, on: bool) -> float:
        if not self.miner.deaf:
            self.fast_boot = on
            self.persistent_writes += 1
        return 0.0

    def _summary(self, _parameter: str, now_s: float) -> Document:
        telemetry = self.telemetry(now_s)
        row = replies.summary_row(telemetry, self.miner.rating, self.mac, self.unix_s(now_s))
        row["Power Mode"] = self.power_mode
        row["Power Limit"] = self.power_limit_w
        row["Btminer Fast Boot"] = "enable" if self.fast_boot else "disable"
        return self._rpc.envelope("S", CODE_SUMMARY, "Summary", now_s, SUMMARY=[row])

    def _devs(self, _parameter: str, now_s: float) -> Document:
        rows = replies.devs_rows(self.telemetry(now_s), self.miner.rating, self.serial)
        return self._rpc.envelope("S", CODE_DEVS, f"{len(rows)} ASC(s)", now_s, DEVS=rows)

    def _pools(self, _parameter: str, now_s: float) -> Document:
        rows = pool_rows(self.pools, self.telemetry(now_s))
        for row in rows:
            row["POOL"] += 1  # MicroBT counts from one
        return self._rpc.envelope("S", CODE_POOLS, f"{len(rows)} Pool(s)", now_s, POOLS=rows)

    def _devdetails(self, _parameter: str, now_s: float) -> Document:
        rows = replies.devdetails_rows(self.miner.rating)
        return self._rpc.envelope("S", CODE_DEVDETAILS, "Device Details", now_s, DEVDETAILS=rows)

    def _miner_info(self) -> Document:
        return replies.miner_info(self.host, self.mac, self.serial, led_auto=self.led_auto)

    def _status(self) -> Document:
        return {
            "mineroff": "true" if self.miner.sleep_wanted else "false",
            "mineroff_reason": "",
            "mineroff_time": "",
            "FirmwareVersion": replies.FIRMWARE_VERSION,
            "power_mode": self.power_mode.lower(),
            "power_limit_set": str(self.power_limit_w),
            "hash_percent": str(self.percent),
        }

    def _random_salt(self) -> str:
        return "".join(self.unit.rng.choice(_SALT_LETTERS) for _ in range(8))

    def _ok(self, message: Any, now_s: float) -> Document:
        return self._message("S", CODE_OK, message, now_s)

    def _no(self, code: int, message: str, now_s: float) -> Document:
        return self._message("E", code, message, now_s)

    def _message(self, status: str, code: int, message: Any, now_s: float) -> Document:
        """MicroBT's own envelope: flat, the content in Msg."""
        when = self.unix_s(now_s)
        return {"STATUS": status, "When": when, "Code": code, "Msg": message, "Description": ""}

    @staticmethod
    def _plain(document: Mapping[str, Any]) -> Answer:
        return Answer(json.dumps(document).encode())


def _whole_number(text: Any, number_max: int) -> int:
    """Digits in a string, as the manual asks. Raises WriteRefusedError."""
    digits = str(text)
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(number_max)):
        number = int(digits)
        if number <= number_max:
            return number
    raise WriteRefusedError(CODE_COMMAND_ERROR, "API command ERROR")
