"""A treasury in this process over a real or simulated chain: its file, its rounds, its signer.

    pool's coinbase ──► collection ──► signer ──► reserve (2 of 3)

Rounds are made by hand; the signer answers when it is told to.
"""

import atexit
import contextlib
import functools
import shutil
import struct
import tempfile
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from embit.psbt import PSBT
from embit.script import Script

from controller.app.treasury import assemble, read_wallets
from controller.config.treasury import load_treasury
from controller.money.facts import OutPoint, Wallet
from controller.treasury import book, sweep_book
from controller.treasury.database import Database
from controller.treasury.exchange import HALF_COPIED_S
from controller.treasury.people import People
from simulators.services.signer.desk import Desk
from simulators.services.signer.keys import CollectionKey, new_collection_key, new_reserve
from simulators.services.signer.policy import Policy
from simulators.services.signer.reserve import Reserve
from simulators.services.signer.sign import _sign
from tests.services.chain_ground import ANYONE, open_chain

SUBSIDY_SAT = 50 * 10**8
ADDRESSES = 60
SWEEP = """
[sweep]
min_sweep_sat = 100_000
feerate_sat_kvb = 2_000
feerate_max_sat_kvb = 50_000
max_fee_sat = 100_000
max_fee_percent = 5
every_s = 0
signer_patience_s = 43_200
"""


AGED_BLOCKS = 112
"""How old the chain is when a test begins: a dozen coinbases that anyone may spend are mature."""


@functools.cache
def _aged(name):
    """A folder with an old chain of a kind, made once and copied for each test."""
    folder = Path(tempfile.mkdtemp(prefix="naryn-chain-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = open_chain(name, folder / "chain")
    hashes = made.mine(AGED_BLOCKS)
    coins = [made.rpc("getblock", block)["tx"][0] for block in hashes]
    made.close()
    return folder / "chain", coins


def open_aged(name, folder):
    """An old chain of a kind, started over a copy of its own."""
    old, coins = _aged(name)
    shutil.copytree(old, folder, ignore=shutil.ignore_patterns(".lock", "*.pid", ".cookie"))
    opened = open_chain(name, folder)
    opened.purse = [(OutPoint(txid, 0), SUBSIDY_SAT) for txid in coins[: AGED_BLOCKS - 100]]
    return opened


@pytest.fixture(params=["simulated", "core"])
def aged(request, tmp_path):
    """An old chain of each kind, with mature coins for `payment`."""
    opened = open_aged(request.param, tmp_path / "chain")
    yield opened
    opened.close()


@pytest.fixture
def aged_simulated(tmp_path):
    """An old simulated chain: for what is not about the node."""
    opened = open_aged("simulated", tmp_path / "chain")
    yield opened
    opened.close()


def payment(chain, *pays):
    """A transaction, in hexadecimal, of what anyone may spend, to these (script in hex, satoshis).

    What is left over goes back into the purse.
    """
    coin, sat = chain.purse.pop(0)
    rest = sat - sum(paid for _, paid in pays)
    assert rest > 0
    raw = transaction([coin], [*pays, (ANYONE, rest)]).hex()
    chain.purse.append((OutPoint(txid_of(raw), len(pays)), rest))
    return raw


def transaction(spends, pays):
    """A transaction of version 2 that spends what anyone may spend, serialised by hand."""
    raw = struct.pack("<iB", 2, len(spends))
    for coin in spends:
        raw += bytes.fromhex(coin.txid)[::-1] + struct.pack("<IBI", coin.vout, 0, 0xFFFFFFFF)
    raw += bytes([len(pays)])
    for script, sat in pays:
        raw += struct.pack("<qB", sat, len(script) // 2) + bytes.fromhex(script)
    return raw + bytes(4)


def txid_of(raw):
    """The id of a transaction without a witness, in hexadecimal."""
    return sha256(sha256(bytes.fromhex(raw)).digest()).digest()[::-1].hex()


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


def new_keys():
    """Keys in a folder that goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="naryn-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Keys(folder)


keys = functools.cache(new_keys)
"""The keys of every test that asks for none of its own."""


def treasury_text(chain, made, *, sweep=SWEEP, more=""):
    """A whole treasury.toml over a chain, for the keys that were made."""
    return f"""
[treasury]
id = "test"
state_dir = "state"
from_height = {(getattr(chain, "purse", None) and AGED_BLOCKS + 1) or 0}

[node]
url = "{chain.url}"
cookie_file = "{chain.cookie_file}"
network = "regtest"
poll_s = 0.1
audit_every_s = 0
tip_age_max_s = 86_400

[collection]
descriptor = "{made.collection}"
addresses = {ADDRESSES}

[reserve]
descriptor = "{made.reserve}"
addresses = {ADDRESSES}
{sweep}
[health]
port = 0
{more}
"""


class Ground:
    """One treasury over `chain`, which may have an older life behind it.

    `path`: a treasury.toml that is there already. `wrap_database` may put something between the
    treasury and its database.
    """

    def __init__(
        self,
        chain,
        folder,
        *,
        fresh_keys=False,
        keys_of=None,
        path=None,
        wrap_database=None,
        **text,
    ):
        self.chain = chain
        self.keys = keys_of or (new_keys() if fresh_keys else keys())
        self._wrap = wrap_database or (lambda database: database)
        self.folder = folder
        self.clock = Clock()
        self.config = None
        self.path = path or folder / "treasury.toml"
        if path is None:
            self.path.write_text(treasury_text(chain, self.keys, **text), "utf-8")
        self.open()

    def open(self):
        """Open, again after `close`."""
        before, self.config = self.config, load_treasury(self.path)
        if before != self.config:
            self.wallets = read_wallets(self.config)
        self.database = Database(self.config.state_dir / "treasury.db")
        self.work = assemble(self.config, self.wallets, self._wrap(self.database), self.clock)

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

    def payment_to_reserve(self, index, sat=10**6):
        """A direct payout, not mined yet."""
        return payment(self.chain, (self.reserve_script(index), sat))

    def pay(self, *sats, deep=True):
        """One payout with these amounts to the collection, in a block; buried six deep."""
        raw = payment(self.chain, *((self.collection_script(), sat) for sat in sats))
        (block,) = self.chain.mine(1, transactions=[raw])
        if deep:
            self.chain.mine(5)
        self.follow()
        return raw, block

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
            made = self.keys
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
            if "exchange_failed" in self.alarms():  # time for what is copied slowly is over
                self.clock.ahead += timedelta(seconds=HALF_COPIED_S)
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


def stolen(ground, fee_sat):
    """The newest attempt's coins, signed over to a thief."""
    sweep = ground.sweeps()[0]
    psbt = PSBT.from_string(sweep.newest.psbt)
    psbt.outputs[0].script_pubkey = Script(b"\x00\x14" + b"\x07" * 20)
    psbt.outputs[0].value = sweep.total_sat - fee_sat
    _sign(psbt, CollectionKey.of_file(ground.keys.key_file), 1)
    return ground.chain.rpc("finalizepsbt", psbt.to_string(), True)["hex"]


def act_on(ground, act, form, *, people=None):
    """What a person asks of the running treasury, over no channel."""
    people = people or People(ground.database, ground.wallets, ground.clock)
    return msgspec.msgpack.decode(people.answer(msgspec.msgpack.encode(act)), type=form)
