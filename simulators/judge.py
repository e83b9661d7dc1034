"""The independent judge: real pyasic in a process of its own, asked over JSON lines.

    python -m simulators.judge 127.1.0.1 127.1.0.2
    → {"id": 1, "op": "identify", "host": "127.1.0.1"}
    ← {"id": 1, "ok": true, "result": {"make": "AntMiner", "model": "S19 Pro", "firmware": "Stock"}}

Operations: identify, data, stop, resume, set_power_limit (with "power_w"). Only the hosts of the
command line are spoken to, and they have to be loopback addresses: any other connection, which some
pyasic calls would open, is refused by an audit hook. pyasic's own time-outs reach 100 s; here each
question has a deadline.

`Judge` is the asking side. It imports no pyasic.
"""

import asyncio
import json
import logging
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from ipaddress import IPv4Address
from typing import Any, Self, TextIO

OPERATIONS = ("identify", "data", "stop", "resume", "set_power_limit")
DEADLINE_S = 30.0
START_DEADLINE_S = 60.0
LINE_BYTES_MAX = 262_144
PYASIC_SETTINGS: dict[str, int] = {
    "factory_get_retries": 1,
    "factory_get_timeout": 5,
    "get_data_retries": 1,
    "api_function_timeout": 5,
}


class JudgeError(Exception):
    """The judge could not answer: its own words."""


@dataclass
class Judge:
    """A running judge process. Use as an async context manager; questions may overlap."""

    hosts: tuple[str, ...]
    _process: asyncio.subprocess.Process | None = None
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _reader: asyncio.Task[None] | None = None
    _last_id: int = 0

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "simulators.judge",
            *self.hosts,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(self, *_error: object) -> None:
        process, reader = self._process, self._reader
        if process is None or process.stdin is None or reader is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), timeout=10.0)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader

    async def ask(self, operation: str, host: str, **arguments: float) -> dict[str, Any]:
        """One question. Raises JudgeError for what pyasic could not do, and when the process has
        gone."""
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise JudgeError("the judge is not running")
        self._last_id += 1
        question = {"id": self._last_id, "op": operation, "host": host, **arguments}
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._last_id] = future
        process.stdin.write(json.dumps(question).encode() + b"\n")
        answer: dict[str, Any] = await asyncio.wait_for(future, DEADLINE_S + START_DEADLINE_S)
        if not answer.get("ok"):
            raise JudgeError(str(answer.get("error")))
        return dict(answer["result"])

    async def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        while line := await process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"], None)
            if future is not None and not future.done():
                future.set_result(answer)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(JudgeError("the judge has ended"))


def forbid_outside(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: no connection and no name look-up beyond the loopback network."""
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is not None and not is_loopback(str(host)):
        raise PermissionError(f"the judge speaks to loopback addresses only, not to {host}")


def is_loopback(host: str) -> bool:
    """Whether the text is an IPv4 loopback address."""
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return host == "::1"


class Bench:
    """The answering side: one pyasic object a host, kept between questions."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(hosts)
        self._miners: dict[str, Any] = {}

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer one question, whatever pyasic does."""
        number = question.get("id")
        operation, host = str(question.get("op")), str(question.get("host"))
        if operation not in OPERATIONS:
            return {"id": number, "ok": False, "error": f"op must be one of {OPERATIONS}"}
        if host not in self._hosts:
            error = f"{host} was not named on the command line"
            return {"id": number, "ok": False, "error": error}
        try:
            work = self._carry_out(operation, host, question)
            result = await asyncio.wait_for(work, DEADLINE_S)
        except TimeoutError:
            return {"id": number, "ok": False, "error": f"no answer within {DEADLINE_S:.0f} s"}
        except Exception as problem:  # noqa: BLE001 - supervises a foreign library
            error = f"{type(problem).__name__}: {problem}"
            return {"id": number, "ok": False, "error": error}
        return {"id": number, "ok": True, "result": result}

    async def _carry_out(
        self, operation: str, host: str, question: dict[str, Any]
    ) -> dict[str, Any]:
        if operation == "identify":
            self._miners.pop(host, None)
        miner = await self._miner(host)
        match operation:
            case "stop":
                return {"claimed": bool(await miner.stop_mining())}
            case "resume":
                return {"claimed": bool(await miner.resume_mining())}
            case "set_power_limit":
                power_w = int(question["power_w"])
                return {"claimed": bool(await miner.set_power_limit(power_w))}
            case "data":
                return figures_of(await miner.get_data())
        return {
            "make": _text(miner.make),
            "model": _text(miner.raw_model),
            "firmware": _text(miner.firmware),
            "driver": type(miner).__name__,
        }

    async def _miner(self, host: str) -> Any:
        if host not in self._miners:
            miner = await import_module("pyasic").get_miner(host)
            if miner is None:
                raise JudgeError("pyasic found no miner")
            self._miners[host] = miner
        return self._miners[host]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def figures_of(data: Any) -> dict[str, Any]:
    """pyasic's MinerData in the units and names of this project; None where pyasic says nothing."""
    boards = [board for board in data.hashboards or [] if not board.missing]
    chips_c = [board.chip_temp for board in boards if board.chip_temp is not None]
    boards_c = [board.temp for board in boards if board.temp is not None]
    return {
        "hashrate_ths": _ths(data.hashrate),
        "raw_hashrate_ths": _ths(data.raw_hashrate),
        "expected_hashrate_ths": _ths(data.expected_hashrate),
        "power_w": data.wattage,
        "power_limit_w": data.raw_wattage_limit,
        "chip_temperature_c": sum(chips_c) / len(chips_c) if chips_c else None,
        "board_temperature_c": sum(boards_c) / len(boards_c) if boards_c else None,
        "inlet_temperature_c": data.env_temp,
        "fans_rpm": [fan.speed for fan in data.fans or []],
        "chips": data.total_chips,
        "is_mining": data.is_mining,
        "uptime_s": data.uptime,
        "mac": data.mac,
        "serial": data.serial_number,
        "firmware_version": data.fw_ver,
        "api_version": data.api_ver,
        "pools": [str(pool.url) for pool in data.pools or []],
        "errors": [str(error) for error in data.errors or []],
    }


def _ths(rate: Any) -> float | None:
    return None if rate is None else float(rate.into(type(rate.unit).TH).rate)


def _prepare_pyasic() -> None:
    """Bound its time-outs and shut its way out. Only the child loads pyasic: it is heavy."""

    async def stay_inside(_self: object) -> None:
        """In place of a call that asks a host in the Internet to unlock a WhatsMiner."""
        raise PermissionError("the judge never opens a WhatsMiner's API through an outside host")

    import_module("pyasic.rpc.btminer").BTMinerRPCAPI.open_api = stay_inside
    settings = import_module("pyasic.settings")
    for key, value in PYASIC_SETTINGS.items():
        settings.update(key, value)


async def _answer_lines(bench: Bench, out: TextIO) -> None:
    """Answer lines from stdin until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def one(line: bytes) -> None:
        try:
            question = json.loads(line)
        except ValueError:
            question = {}
        answer = await bench.answer(question if isinstance(question, dict) else {})
        out.write(json.dumps(answer) + "\n")
        out.flush()

    while line := await reader.readline():
        task = loop.create_task(one(line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S)


def main() -> int:
    """Entry of the child; exit status 2 for hosts that it must not speak to."""
    hosts = tuple(sys.argv[1:])
    wrong = [host for host in hosts if not is_loopback(host)]
    if wrong or not hosts:
        named = wrong[0] if wrong else "nothing"
        sys.stderr.write(f"judge: name loopback addresses, e.g. 127.1.0.1; got {named}\n")
        return 2
    sys.addaudithook(forbid_outside)
    out, sys.stdout = (
        sys.stdout,
        sys.stderr,
    )  # whatever pyasic prints must not stand between the answers
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    _prepare_pyasic()
    asyncio.run(_answer_lines(Bench(hosts), out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
