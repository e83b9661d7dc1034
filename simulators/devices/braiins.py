"""Braiins OS+ («BOSer»): reads on 4028, GraphQL on 80, and everything that acts by gRPC on 50051.

`control` is the one place where a command is obeyed; the gRPC calls lead there, and so may an
in-memory caller. Source: braiins/bos-plus-api, API 1.11. A login token lives for 3600 s and is
renewed by every use. Whether a pause survives a reboot is not documented: here it does not.
"""

import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from simulators.devices import braiins_replies as replies
from simulators.devices import graphql, protobuf
from simulators.devices.cgminer import (
    CODE_DEVDETAILS,
    CODE_DEVS,
    CODE_POOLS,
    CODE_SUMMARY,
    CODE_VERSION,
    CgminerService,
    Handler,
    pool_rows,
)
from simulators.devices.persona import (
    Answer,
    GrpcAnswer,
    GrpcRequest,
    HttpAnswer,
    HttpRequest,
    Persona,
    Pool,
    Unit,
    default_pools,
)

VENDOR_LOGIN = ("root", "root")
TOKEN_LIFE_S = 3_600
TOKENS_MAX = 256
"""Oldest logins fall out first (bound of the simulator)."""
TARGET_SHARE_MIN, TARGET_SHARE_MAX = 0.3, 1.1
"""Accepted power targets as shares of the nameplate (assumption of the simulator)."""
GRPC_INVALID_ARGUMENT, GRPC_OUT_OF_RANGE = 3, 11
GRPC_UNIMPLEMENTED, GRPC_UNAUTHENTICATED = 12, 16
CODE_TEMPS, CODE_FANS, CODE_TUNERSTATUS = 201, 202, 203

Action = Literal["pause", "resume", "set_power_target", "restart", "reboot", "locate"]
_V1 = "/braiins.bos.v1."


class ControlRefusedError(ValueError):
    """A command that is not carried out, with its gRPC status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Braiins(Persona):
    """One Antminer under Braiins OS+."""

    firmware: ClassVar[str] = "braiins"
    services: ClassVar[frozenset[str]] = frozenset({"rpc", "http", "grpc"})

    def __init__(
        self,
        unit: Unit,
        *,
        username: str = VENDOR_LOGIN[0],
        password: str = VENDOR_LOGIN[1],
    ) -> None:
        super().__init__(unit)
        self.pools: list[Pool] = default_pools(unit)
        self.target_w = round(unit.miner.rating.power_w)
        self.locating = False
        self._login = (username, password)
        self._tokens: dict[str, float] = {}
        self._rpc = CgminerService(
            description=replies.DESCRIPTION,
            handlers=self._rpc_handlers(),
            unix_s=self.unix_s,
            joined=True,
            nul=True,
        )
        self._calls: dict[str, Callable[[bytes, float], replies.Message]] = {
            "/braiins.bos.ApiVersionService/GetApiVersion": lambda _m, _now_s: {1: 1, 2: 11},
            f"{_V1}ActionsService/PauseMining": self._pause,
            f"{_V1}ActionsService/ResumeMining": self._resume,
            f"{_V1}ActionsService/Stop": self._pause,
            f"{_V1}ActionsService/Start": self._resume,
            f"{_V1}ActionsService/Restart": lambda _m, now_s: self._acted("restart", now_s),
            f"{_V1}ActionsService/Reboot": lambda _m, now_s: self._acted("reboot", now_s),
            f"{_V1}ActionsService/SetLocateDeviceStatus": self._set_locate,
            f"{_V1}ActionsService/GetLocateDeviceStatus": lambda _m, _now_s: {1: self.locating},
            f"{_V1}PerformanceService/SetPowerTarget": self._set_power_target,
            f"{_V1}PerformanceService/SetDefaultPowerTarget": self._set_default_power_target,
            f"{_V1}PerformanceService/GetActivePerformanceMode": lambda _m, _now_s: {
                2: {1: {1: {1: self.target_w}}}
            },
            f"{_V1}PerformanceService/GetTunerState": lambda _m, _now_s: {
                1: replies.TUNER_STABLE,
                2: {2: {1: self.target_w}},
            },
            f"{_V1}MinerService/GetMinerDetails": self._miner_details,
            f"{_V1}MinerService/GetMinerStats": lambda _m, now_s: replies.miner_stats(
                self.telemetry(now_s), self.miner.rating.hashrate_ths
            ),
            f"{_V1}MinerService/GetHashboards": lambda _m, now_s: replies.hashboards(
                self.telemetry(now_s), self.miner.rating, self.serial
            ),
            f"{_V1}CoolingService/GetCoolingState": lambda _m, now_s: replies.cooling_state(
                self.telemetry(now_s), self.miner.rating.fans
            ),
            f"{_V1}ConfigurationService/GetMinerConfiguration": lambda _m, _now_s: (
                replies.configuration(self.pools, self.target_w)
            ),
            f"{_V1}ConfigurationService/GetConstraints": lambda _m, _now_s: {
                1: {1: dict(zip((1, 2, 3), ({1: w} for w in self._targets_w()), strict=True))}
            },
            f"{_V1}PoolService/GetPoolGroups": lambda _m, now_s: replies.pool_groups(
                self.pools, self.telemetry(now_s)
            ),
        }

    def control(self, action: Action, now_s: float, *, power_w: int | None = None) -> bool:
        """Obey one command; True when it changed nothing because it was so already.

        `power_w` belongs to `set_power_target` (None: the default target). Raises
        ControlRefusedError.
        """
        miner = self.miner
        match action:
            case "pause":
                already = miner.sleep_wanted
                miner.sleep(now_s)
                return already
            case "resume":
                already = not miner.sleep_wanted
                miner.wake(now_s)
                return already
            case "restart":
                miner.restart(now_s)
            case "reboot":
                self.reboot(now_s, wakes=True)
            case "locate":
                if not miner.deaf:
                    self.locating = not self.locating
            case "set_power_target":
                self._obey_target(power_w, now_s)
        return False

    def _obey_target(self, power_w: int | None, now_s: float) -> None:
        default_w, low_w, high_w = self._targets_w()
        target_w = default_w if power_w is None else power_w
        if not low_w <= target_w <= high_w:
            message = f"power target {target_w} W is outside of {low_w} … {high_w} W"
            raise ControlRefusedError(GRPC_OUT_OF_RANGE, message)
        if self.miner.deaf:
            return
        self.target_w = target_w
        self.persistent_writes += 1
        self.miner.limit(now_s, float(target_w))

    def _targets_w(self) -> tuple[int, int, int]:
        """Default, lowest and highest power target."""
        rated_w = self.miner.rating.power_w
        low_w, high_w = rated_w * TARGET_SHARE_MIN, rated_w * TARGET_SHARE_MAX
        return round(rated_w), round(low_w), round(high_w)

    def _pause(self, _message: bytes, now_s: float) -> replies.Message:
        return {1: self.control("pause", now_s)}

    def _resume(self, _message: bytes, now_s: float) -> replies.Message:
        return {1: self.control("resume", now_s)}

    def _acted(self, action: Action, now_s: float) -> replies.Message:
        self.control(action, now_s)
        return {}

    def _set_locate(self, message: bytes, now_s: float) -> replies.Message:
        wanted = bool(protobuf.number_at(protobuf.decode(message), 1))
        if wanted != self.locating:
            self.control("locate", now_s)
        return {1: wanted}

    def _set_power_target(self, message: bytes, now_s: float) -> replies.Message:
        """Every SaveAction saves, so each call is a write to flash."""
        power_w = protobuf.number_at(protobuf.message_at(message, 2), 1)
        self.control("set_power_target", now_s, power_w=power_w)
        return {1: {1: power_w}}

    def _set_default_power_target(self, _message: bytes, now_s: float) -> replies.Message:
        self.control("set_power_target", now_s)
        return {1: {1: round(self.miner.rating.power_w)}}

    def _miner_details(self, _message: bytes, now_s: float) -> replies.Message:
        return replies.miner_details(
            self.miner.rating,
            mac=self.mac,
            serial=self.serial,
            uid=f"bos-{self.serial}",
            uptime_s=self.telemetry(now_s).elapsed_s,
            paused=self.miner.sleep_wanted,
        )

    def _grpc(self, request: GrpcRequest, now_s: float) -> GrpcAnswer:
        if request.path == f"{_V1}AuthenticationService/Login":
            return self._log_in(request.message, now_s)
        call = self._calls.get(request.path)
        if call is None:
            detail = f"no method {request.path[:128]}"
            return GrpcAnswer(message=None, status=GRPC_UNIMPLEMENTED, detail=detail)
        token = request.metadata.get("authorization", "")
        if not request.path.startswith("/braiins.bos.Api") and not self._renew(token, now_s):
            detail = "not logged in, or the token has expired"
            return GrpcAnswer(message=None, status=GRPC_UNAUTHENTICATED, detail=detail)
        try:
            return GrpcAnswer(message=protobuf.encode(call(request.message, now_s)))
        except ControlRefusedError as refusal:
            return GrpcAnswer(message=None, status=refusal.status, detail=str(refusal))
        except ValueError as problem:
            return GrpcAnswer(message=None, status=GRPC_INVALID_ARGUMENT, detail=str(problem))

    def _log_in(self, message: bytes, now_s: float) -> GrpcAnswer:
        """The token comes in the metadata as well as in the message."""
        try:
            fields = protobuf.decode(message)
            login = (protobuf.text_at(fields, 1), protobuf.text_at(fields, 2))
        except ValueError as problem:
            return GrpcAnswer(message=None, status=GRPC_INVALID_ARGUMENT, detail=str(problem))
        if login != self._login:
            detail = "wrong user name or password"
            return GrpcAnswer(message=None, status=GRPC_UNAUTHENTICATED, detail=detail)
        token = self.unit.rng.randbytes(16).hex()
        while len(self._tokens) >= TOKENS_MAX:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[token] = now_s + TOKEN_LIFE_S
        reply = protobuf.encode({1: token, 2: TOKEN_LIFE_S})
        return GrpcAnswer(message=reply, metadata={"authorization": token})

    def _renew(self, token: str, now_s: float) -> bool:
        if self._tokens.get(token, float("-inf")) <= now_s:
            return False
        self._tokens[token] = now_s + TOKEN_LIFE_S
        return True

    def _http(self, request: HttpRequest, now_s: float) -> HttpAnswer:
        if request.path == "/graphql" and request.method == "POST":
            return self._graphql(request.body, now_s)
        body = b"<!doctype html><html><head><title>Braiins OS</title></head><body></body></html>"
        status = 200 if request.path == "/" else 404
        return HttpAnswer(status=status, body=body, headers={"Content-Type": "text/html"})

    def _graphql(self, body: bytes, now_s: float) -> HttpAnswer:
        telemetry = self.telemetry(now_s)
        document = replies.graphql_document(telemetry, self.miner.rating, self.pools, self.target_w)
        try:
            query = json.loads(body).get("query")
            reply: dict[str, Any] = {"data": graphql.project(document, str(query))}
        except (ValueError, RecursionError, AttributeError) as problem:
            reply = {"data": None, "errors": [{"message": str(problem)[:200]}]}
        return HttpAnswer(
            status=200,
            body=json.dumps(reply).encode(),
            headers={"Content-Type": "application/json"},
        )

    def _tcp(self, request: bytes, now_s: float) -> Answer | None:
        return self._rpc.answer(request, now_s)

    def _rpc_handlers(self) -> dict[str, Handler]:
        rating = self.miner.rating

        def section(
            name: str, code: int, text: str, rows: Callable[[float], list[dict[str, Any]]]
        ) -> Handler:
            return lambda _parameter, now_s: self._rpc.envelope(
                "S", code, text, now_s, **{name: rows(now_s)}
            )

        return {
            "version": section(
                "VERSION", CODE_VERSION, "BOSer versions", lambda _now_s: [replies.version_row()]
            ),
            "summary": section(
                "SUMMARY",
                CODE_SUMMARY,
                "Summary",
                lambda now_s: [replies.summary_row(self.telemetry(now_s), self.unix_s(now_s))],
            ),
            "devs": section(
                "DEVS",
                CODE_DEVS,
                f"{rating.boards} ASC(s)",
                lambda now_s: replies.devs_rows(self.telemetry(now_s), rating),
            ),
            "devdetails": section(
                "DEVDETAILS",
                CODE_DEVDETAILS,
                "Device Details",
                lambda _now_s: replies.devdetails_rows(rating),
            ),
            "pools": section(
                "POOLS",
                CODE_POOLS,
                f"{len(self.pools)} Pool(s)",
                lambda now_s: pool_rows(self.pools, self.telemetry(now_s)),
            ),
            "temps": section(
                "TEMPS",
                CODE_TEMPS,
                f"{rating.boards} Temp(s)",
                lambda now_s: replies.temps_rows(self.telemetry(now_s), rating.boards),
            ),
            "fans": section(
                "FANS",
                CODE_FANS,
                f"{rating.fans} Fan(s)",
                lambda now_s: replies.fans_rows(self.telemetry(now_s), rating.fans),
            ),
            "tunerstatus": section(
                "TUNERSTATUS",
                CODE_TUNERSTATUS,
                "Tuner Status",
                lambda now_s: [
                    replies.tunerstatus_row(self.telemetry(now_s), rating.boards, self.target_w)
                ],
            ),
        }
