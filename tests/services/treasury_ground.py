"""A treasury in memory over a real or simulated chain: its file, its rounds, its signer.

    pool's coinbase ──► collection ──► signer ──► reserve (2 of 3)

Rounds are made by hand; the signer answers when it is told to.
"""

import contextlib
import functools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controller.app.treasury import assemble, read_wallets
from controller.config.treasury import load_treasury
from controller.money.facts import Wallet
from controller.money.sweep import Stage
from controller.treasury import book, sweep_book
from controller.treasury.database import Database
from simulators.services.signer.desk import Desk
from simulators.services.signer.keys import CollectionKey, new_collection_key, new_reserve
from simulators.services.signer.policy import Policy
from simulators.services.signer.reserve import Reserve

FEERATE_SAT_KVB = 2_000
ADDRESSES = 60
SWEEP = f"""
[sweep]
min_sweep_sat = 100_000
feerate_sat_kvb = {FEERATE_SAT_KVB}
feerate_max_sat_kvb = 50_000
max_fee_sat = 100_000
max_fee_percent = 5
every_s = 0
"""


class Clock:
    """The machine's clocks, of which the wall clock may be moved."""

    def __init__(self):
        self.ahead = timedelta()

    def monotonic_s(self):
        return 1_000.0 + self.ahead.total_seconds()

    def utc(self):
        return datetime.now(UTC) + self.ahead

    def synced(self):
        return True


class Keys:
    """One collection key and one reserve for all tests of a session."""

    def __init__(self, folder):
        self.key_file = folder / "collection.key"
        self.collection = new_collection_key(self.key_file, "regtest").descriptor
        self.reserve = new_reserve(folder / "reserve", "regtest")


@functools.cache
def keys():
    """The keys, made once in a folder that goes with the process."""
    import tempfile  # noqa: PLC0415 - the folder must outlive every test of the process

    folder = Path(tempfile.mkdtemp(prefix="naryn-keys-"))
    folder.chmod(0o700)
    return Keys(folder)


def treasury_text(chain, *, sweep=SWEEP, more="", collection=None, reserve=None):
    """A whole treasury.toml over a chain."""
    made = keys()
    return f"""
[treasury]
id = "test"
state_dir = "state"

[node]
url = "{chain.url}"
cookie_file = "{chain.cookie_file}"
network = "regtest"
poll_s = 0.1
audit_every_s = 0
tip_age_max_s = 86_400
{more if more.lstrip().startswith("#node") else ""}

[collection]
descriptor = "{collection or made.collection}"
addresses = {ADDRESSES}

[reserve]
descriptor = "{reserve or made.reserve}"
addresses = {ADDRESSES}
{sweep}
[health]
port = 0
{"" if more.lstrip().startswith("#node") else more}
"""


class Ground:
    """One treasury over `chain`. `wrap` may put something between it and its parts."""

    def __init__(self, chain, folder, **text):
        self.chain = chain
        self.folder = folder
        self.clock = Clock()
        self.path = folder / "treasury.toml"
        self.path.write_text(treasury_text(chain, **text), "utf-8")
        self.open()

    def open(self):
        """Open, again after `close`."""
        self.config = load_treasury(self.path)
        self.wallets = read_wallets(self.config)
        self.database = Database(self.config.state_dir / "treasury.db")
        self.work = assemble(self.config, self.wallets, self.database, self.clock)

    def close(self):
        self.database.close()

    def reopen(self):
        """As a new process over the same folder."""
        self.close()
        self.open()

    @property
    def image(self):
        return self.work.image

    def alarms(self):
        """Names of the alarms that stand, without their objects."""
        return {alarm.alarm_id.partition(":")[0] for alarm in self.image.alarms}

    def round(self, times=1):
        for _ in range(times):
            self.work.round()
        return self.image

    def collection_script(self, index=0):
        return self.wallets[Wallet.COLLECTION].script(index).hex()

    def reserve_script(self, index=0):
        return self.wallets[Wallet.RESERVE].script(index).hex()

    def fund(self, coins=1, *, mature=True):
        """Mine coinbases to the collection, and bury them."""
        hashes = self.chain.mine(coins, script_hex=self.collection_script())
        if mature:
            self.chain.mine(100)
        self.follow()
        return hashes

    def follow(self):
        """Rounds until the book stands at the tip."""
        for _ in range(100):
            self.round()
            if self.work.stands_at == self.chain.tip():
                return
        raise AssertionError(f"never at the tip: {self.image.chain} {self.image.alarms}")

    def sign(self, fault=None):
        """The signer answers what waits."""
        folder = self.config.exchange_dir
        with contextlib.suppress(FileNotFoundError):
            made = keys()
            policy = Policy(
                CollectionKey.of_file(made.key_file), Reserve(made.reserve, ADDRESSES), 100_000
            )
            desk = Desk(folder / "to-sign", folder / "signed", policy, fault=fault, late_s=0.0)
            trouble = desk.round(0.0)
            assert trouble is None or "No such file" in trouble, trouble

    def until(self, stage, *, fault=None, rounds=12):
        """Rounds with the signer until the newest sweep stands at `stage`."""
        for _ in range(rounds):
            self.round()
            if self.image.sweeps and self.image.sweeps[0].stage == stage:
                return self.image.sweeps[0]
            self.sign(fault)
        seen = [(s.stage, s.reason) for s in self.image.sweeps]
        raise AssertionError(f"never {stage}: {seen} {self.image.alarms}")

    def audit(self):
        """Compare the book with the node's unspent coins: what differs."""
        self.work.parts.audit.compare()
        assert self.work.parts.audit.alarms == (), self.work.parts.audit.alarms
        finding = self.work.parts.audit.finding
        assert finding is not None
        assert finding.block_hash == self.work.stands_at
        assert finding.book_sat == finding.chain_sat
        return finding

    def sweeps(self):
        with self.database.transaction() as db:
            return sweep_book.sweeps(db)

    def balances(self):
        with self.database.transaction() as db:
            return book.verify(db)

    def in_mempool(self):
        return set(self.chain.rpc("getrawmempool"))


FINAL = Stage.FINAL
