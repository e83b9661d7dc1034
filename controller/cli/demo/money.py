"""The demonstration's money: a simulated chain, a pool, a signer, and the treasury between them.

    true hashrate ─▶ pool ─▶ chain ─▶ treasury ─▶ signer ─▶ treasury ─▶ chain: reserve

The reserve's keys are made and thrown away: nobody in the demonstration can spend from it.
"""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from controller.app.treasury import treasury_channel_path
from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.treasury import SweepView, TreasuryImage
from controller.cli.demo.ground import Ground
from controller.cli.demo.ports import Ports
from controller.cli.demo.processes import Processes
from controller.config.treasury import Network, load_treasury
from controller.money.facts import Wallet
from controller.treasury.descriptors import watch

BLOCK_S = 4
"""A block this often, instead of every ten minutes."""
_PREMINED = 120
_DIFFICULTY = 10**11
"""Some thousand times easier than the real chain, so that minutes of hashing are worth a payout."""
_PAY_EVERY_S = 30
_MIN_SWEEP_SAT = 400_000
_CONFIRMED = {"confirmed", "final"}
_RPC_S = 10.0

_TREASURY = """\
# The demonstration's treasury: blocks every few seconds, small sums, one signer.

[treasury]
id = "demo-treasury"
name = "Demonstration reserve (simulated)"
state_dir = "treasury"

[node]
url = "http://127.0.0.1:$chain"
cookie_file = "chain/.cookie"
network = "regtest"
poll_s = 1
audit_every_s = 5

[collection]
descriptor = "$collection"

[reserve]
descriptor = "$reserve"

[sweep]
min_sweep_sat = $min_sweep_sat
feerate_sat_kvb = 2000
feerate_max_sat_kvb = 10000
max_fee_sat = 50000
every_s = 40

[[pool]]
id = "demo-pool"
kind = "ocean"
url = "http://127.0.0.1:$pool"
addresses = ["$address"]
pay_every_s = $pay_every_s
grace_s = 120
threshold_sat = 50000
poll_s = 5

[health]
port = $health
"""


class Money:
    """The money side of one run: laid, started, followed, and judged from outside."""

    def __init__(self, ground: Ground, ports: Ports) -> None:
        self._folder = ground.folder
        self._truth = ground.truth_file
        self._ports = ports
        self._image: TreasuryImage | None = None
        self._sweeps: dict[str, SweepView] = {}
        self._alarms: dict[str, str] = {}
        self._reserve = ""
        self._collection = ""

    @property
    def state_dir(self) -> Path:
        """The treasury's state folder."""
        return self._folder / "treasury"

    async def start(self, processes: Processes) -> None:
        """Make keys and configuration, then start chain, pool, signer and treasury."""
        key_file = self._folder / "signer" / "collection.key"
        cold = self._folder / "cold"
        for place in (key_file.parent, cold, self._folder / "pool", self._folder / "chain"):
            place.mkdir(mode=0o700)
        signer, pool = "simulators.services.signer", "simulators.services.pool"
        self._collection = await _said(signer, "new", "--key-file", str(key_file))
        self._reserve = await _said(signer, "new-reserve", "--folder", str(cold))
        shutil.rmtree(cold)
        pool_key = str(self._folder / "pool" / "pool.key")
        coinbase = await _said(pool, "script", "--key-file", pool_key)
        address = self._write_configuration()
        exchange = self.state_dir / "exchange"
        await self._start(
            processes,
            "chain",
            "simulators.services.chain",
            {
                "--rpc-port": self._ports.chain,
                "--folder": self._folder / "chain",
                "--block-every-s": BLOCK_S,
                "--pay-coinbase-to": coinbase,
                "--premine": _PREMINED,
            },
        )
        await self._start(
            processes,
            "pool",
            pool,
            {
                "--port": self._ports.pool,
                "--folder": self._folder / "pool",
                "--key-file": pool_key,
                "--truth": self._truth,
                "--node": self._node_url,
                "--cookie": self._cookie,
                "--destination": address,
                "--difficulty": _DIFFICULTY,
                "--pay-every-s": _PAY_EVERY_S,
                "--threshold-sat": 50_000,
            },
        )
        await processes.start(
            "treasury", "controller.cli.main", "treasury", "run", str(self._treasury_file)
        )
        await self._listening(processes)
        await self._start(
            processes,
            "signer",
            signer,
            {
                "--inbox": exchange / "to-sign",
                "--outbox": exchange / "signed",
                "--key-file": key_file,
                "--reserve": self._reserve,
            },
        )

    @property
    def _treasury_file(self) -> Path:
        return self._folder / "treasury.toml"

    @property
    def _node_url(self) -> str:
        return f"http://127.0.0.1:{self._ports.chain}"

    @property
    def _cookie(self) -> Path:
        return self._folder / "chain" / ".cookie"

    def _write_configuration(self) -> str:
        """Write `treasury.toml`; returns the collection address that the pool pays to."""
        wallet = watch(Wallet.COLLECTION, self._collection, Network.REGTEST, 30)
        address = wallet.address(0)
        text = Template(_TREASURY).substitute(
            chain=self._ports.chain,
            pool=self._ports.pool,
            health=self._ports.treasury_health,
            collection=self._collection,
            reserve=self._reserve,
            address=address,
            min_sweep_sat=_MIN_SWEEP_SAT,
            pay_every_s=_PAY_EVERY_S,
        )
        self._treasury_file.write_text(text, "utf-8")
        load_treasury(self._treasury_file)
        return address

    @staticmethod
    async def _start(
        processes: Processes, name: str, module: str, options: dict[str, object]
    ) -> None:
        words = [str(word) for pair in options.items() for word in pair]
        child = await processes.start(name, module, *words)
        await processes.first_line(child, 30.0)

    async def _listening(self, processes: Processes) -> None:
        """Wait until the treasury serves its channel."""
        path = treasury_channel_path(self.state_dir)
        treasury = processes.children[-1]
        for _ in range(150):
            if path.exists():
                return
            if treasury.process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        await processes.failed(treasury, "does not serve its channel")

    async def follow(self) -> None:
        """Keep the treasury's newest image, and the newest form of every sweep, for ever."""
        while True:
            with contextlib.suppress(ChannelError):
                async for image in self._images():
                    self._image = image
                    self._sweeps.update({sweep.sweep_id: sweep for sweep in image.sweeps})
                    self._alarms.update({a.alarm_id: a.detail for a in image.alarms})
            await asyncio.sleep(0.5)

    async def _images(self) -> AsyncIterator[TreasuryImage]:
        path = treasury_channel_path(self.state_dir)
        async with connect(path, "naryn treasury run") as client:
            async for body in client.images():
                yield msgspec.msgpack.decode(body, type=TreasuryImage)

    async def summary(self) -> tuple[dict[str, Any], list[str]]:
        """The money in numbers, and what did not happen.

        The reserve is counted from outside, by the node's own set of coins, not by the treasury.
        """
        chain_sat, ledger_sat = await self._agreed()
        sweeps = [
            {
                "txid": sweep.txid,
                "amount_sat": sweep.amount_sat,
                "fee_sat": sweep.fee_sat,
                "confirmations": sweep.confirmations,
            }
            for sweep in sorted(self._sweeps.values(), key=lambda sweep: sweep.created_at)
            if sweep.stage in _CONFIRMED
        ]
        missed = [f"the treasury raised {name}: {said}" for name, said in self._alarms.items()]
        if not sweeps:
            missed.append("no reward was swept into the reserve")
        if chain_sat is None or chain_sat != ledger_sat:
            missed.append(f"the reserve holds {chain_sat} sat, the ledger says {ledger_sat}")
        reserve = {"chain_sat": chain_sat, "ledger_sat": ledger_sat}
        return {"sweeps": sweeps, "reserve": reserve}, missed

    async def _agreed(self) -> tuple[int | None, int | None]:
        """Both figures at one height. The chain grows on, so a few looks may be needed."""
        chain_sat: int | None = None
        ledger_sat: int | None = None
        for _ in range(20):
            image, scan = self._image, await asyncio.to_thread(self._scan)
            if image is not None and scan is not None:
                height, chain_sat = scan
                ledger_sat = image.reserve.ledger_sat
                if image.chain.height == height and chain_sat == ledger_sat:
                    break
            await asyncio.sleep(0.5)
        return chain_sat, ledger_sat

    def _scan(self) -> tuple[int, int] | None:
        """Height, and what the reserve's coins are worth there; None when the node is silent."""
        question = {
            "method": "scantxoutset",
            "params": ["start", [{"desc": self._reserve, "range": 1_000}]],
            "id": 1,
        }
        login = base64.b64encode(self._cookie.read_bytes().strip()).decode("ascii")
        request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
            self._node_url,
            json.dumps(question).encode(),
            {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_RPC_S) as reply:  # noqa: S310
                result = json.load(reply, parse_float=str)["result"]
        except OSError:
            return None
        return int(result["height"]), _sat(str(result["total_amount"]))


def _sat(bitcoins: str) -> int:
    """`1.5` → 150000000, without a float in between."""
    whole, _, part = bitcoins.partition(".")
    return int(whole) * 100_000_000 + int(part.ljust(8, "0")[:8] or 0)


async def _said(module: str, *arguments: str) -> str:
    """What a short program prints."""
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", module, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return run.stdout.strip()
