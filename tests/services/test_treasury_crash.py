"""A treasury that dies at every place where it can, again and again: nothing is lost or sent twice.

A crash is an exception that nothing catches, before or after any call to node, database or
exchange folder, or within a transaction; then everything is opened anew from what was stored.
"""

import contextlib
import random
from collections import Counter

import pytest

from controller.money.ledger import Account
from controller.money.policy import SEQUENCE
from controller.money.sweep import Stage
from controller.treasury.chain import Chain
from controller.treasury.exchange import Exchange
from controller.treasury.psbt_facts import read_psbt, read_transaction
from tests.services.treasury_ground import Ground, open_aged, payment

STEPS = 40
SEEDS = range(8)


class Crash(BaseException):
    """The process is gone."""


class Trap:
    """Counts down calls, and crashes at zero."""

    def __init__(self):
        self.left = None
        self.sprung = Counter()

    def step(self, where):
        if self.left is None:
            return
        self.left -= 1
        if self.left <= 0:
            self.left = None
            self.sprung[where] += 1
            raise Crash(where)


class Breaking:
    """Stands before a part, and crashes before or after any call of it."""

    def __init__(self, part, trap):
        self._part = part
        self._trap = trap

    def __getattr__(self, name):
        found = getattr(self._part, name)
        if not callable(found):
            return found

        def call(*arguments):
            self._trap.step(f"before {name}")
            result = found(*arguments)
            self._trap.step(f"after {name}")
            return result

        return call


class BreakingDatabase(Breaking):
    """And within a transaction, before it is durable."""

    @contextlib.contextmanager
    def transaction(self):
        self._trap.step("before a transaction")
        with self._part.transaction() as db:
            yield db
            self._trap.step("within a transaction")
        self._trap.step("after a transaction")


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    opened = open_aged("simulated", tmp_path_factory.mktemp("crash") / "chain")
    yield opened
    opened.close()


class Story:
    """One treasury through one random day."""

    def __init__(self, ground, chain, rng, trap):
        self.ground = ground
        self.chain = chain
        self.rng = rng
        self.trap = trap
        self.crashes = 0

    def act(self):
        doing = self.rng.choice(
            [self.rounds] * 6 + [self.sign] * 3 + [self.confirm, self.pay, self.bury, self.reorg]
        )
        self.trap.left = self.rng.randint(1, 60) if self.rng.random() < 0.7 else None
        try:
            doing()
        except Crash:
            self.crashes += 1
            self.trap.left = None
            self.ground.reopen()
        self.trap.left = None

    def rounds(self):
        self.ground.round(self.rng.randint(1, 3))

    def sign(self):
        self.ground.sign()

    def confirm(self):
        self.chain.mine_mempool()

    def bury(self):
        self.chain.mine(self.rng.randint(1, 6))

    def pay(self):
        sats = [self.rng.randint(60_000, 10**6) for _ in range(self.rng.randint(1, 3))]
        raw = payment(self.chain, *((self.ground.collection_script(), sat) for sat in sats))
        self.chain.mine(1, transactions=[raw])
        self.chain.mine(5)

    def reorg(self):
        depth = self.rng.randint(1, 2)
        parent = self.chain.tip()
        for _ in range(depth):
            parent = self.chain.rpc("getblockheader", parent)["previousblockhash"]
        self.chain.mine(depth + 1, on=parent)

    def check(self):
        """What must hold after every step, whatever happened before."""
        self.ground.balances()
        held = Counter()
        for sweep in self.ground.sweeps():
            held.update(list(sweep.coins))
            for attempt in sweep.attempts:
                facts = read_psbt(attempt.psbt)
                assert {entry.outpoint for entry in facts.inputs} == set(sweep.coins)
                assert {entry.sequence for entry in facts.inputs} == {SEQUENCE}
                script = self.ground.reserve_script(sweep.dest_index)
                (output,) = facts.outputs
                assert output.script.hex() == script
                assert output.sat + attempt.fee_sat == sweep.total_sat
                if attempt.raw is not None:
                    assert read_transaction(attempt.raw).txid == attempt.txid == facts.txid
        assert set(held.values()) <= {1}, "a coin is in two sweeps"

    def end(self):
        """No more crashes: everything is carried home."""
        for _ in range(30):
            self.ground.follow()
            self.ground.sign()
            self.ground.round(2)
            if self.ground.in_mempool():
                self.chain.mine_mempool()
            self.chain.mine(1)
            stages = {sweep.stage for sweep in self.ground.sweeps()}
            if stages <= {Stage.FINAL} and self.ground.image.collection.mature_sat < 100_000:
                break
        self.ground.follow()


@pytest.mark.parametrize("seed", SEEDS)
def test_any_crash_anywhere_ends_in_the_same_place(chain, tmp_path, monkeypatch, seed):
    trap = Trap()

    def broken_chain(config):
        node = config.file.node
        real = Chain(
            node.url, config.cookie_file, timeout_s=node.timeout_s, scan_timeout_s=node.timeout_s
        )
        return Breaking(real, trap)

    monkeypatch.setattr("controller.app.treasury.build_chain", broken_chain)
    monkeypatch.setattr(
        "controller.app.treasury.Exchange",
        lambda folder, clock: Breaking(Exchange(folder, clock), trap),
    )
    ground = Ground(
        chain, tmp_path, fresh_keys=True, wrap_database=lambda real: BreakingDatabase(real, trap)
    )
    story = Story(ground, chain, random.Random(seed), trap)
    story.pay()
    for _ in range(STEPS):
        story.act()
        story.check()
    story.end()
    story.check()
    ground.audit()
    sweeps = ground.sweeps()
    assert sweeps
    assert {sweep.stage for sweep in sweeps} == {Stage.FINAL}
    assert len({sweep.dest_index for sweep in sweeps}) == len(sweeps)
    balances = ground.balances()
    swept_sat = sum(sweep.total_sat for sweep in sweeps)
    assert balances[Account.RESERVE] + balances[Account.FEE] == swept_sat
    assert balances[Account.FEE] == sum(sweep.attempts[0].fee_sat for sweep in sweeps)
    assert ground.alarms() == set()
    assert story.crashes > 0
    ground.close()
