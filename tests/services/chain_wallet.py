"""Keys to sign with in tests: a collection wallet and a reserve of three, on regtest.

embit signs here; nothing of the simulated chain's own PSBT code does.
"""

import pytest
from embit import bip32
from embit.descriptor import Descriptor
from embit.networks import NETWORKS
from embit.psbt import PSBT
from embit.transaction import Transaction

from simulators.services.chain.script import address_of
from tests.services.chain_ground import open_chain

REGTEST = NETWORKS["regtest"]
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Wallet:
    """A descriptor of two branches, and the private keys behind it."""

    def __init__(self, form, *seeds, path):
        self.roots = [bip32.HDKey.from_seed(seed * 32, version=REGTEST["xprv"]) for seed in seeds]
        keys = [
            f"[{root.my_fingerprint.hex()}/{path}]{root.derive('m/' + path).to_public()}/<0;1>/*"
            for root in self.roots
        ]
        self.descriptor = form.format(",".join(keys))
        self._parsed = Descriptor.from_string(self.descriptor)

    def script(self, index):
        """Script of an address, bytes."""
        return bytes(self._parsed.derive(index, branch_index=0).script_pubkey().data)

    def address(self, index):
        """An address that gets paid."""
        return address_of(self.script(index))

    def sign(self, psbt, *, signer=0):
        """The PSBT with the signatures of one of the roots."""
        signed = PSBT.from_string(psbt)
        assert signed.sign_with(self.roots[signer]) > 0
        return signed.to_string()


COLLECTION = Wallet("wpkh({})", b"c", path="84h/1h/0h")
RESERVE = Wallet("wsh(sortedmulti(2,{}))", b"r", b"s", b"t", path="48h/1h/0h/2h")


def sweep(chain, coins, to, *, fee_sat, known=None, sequence=0xFFFFFFFD):
    """An updated, unsigned PSBT: all `coins` (txid, vout, value_sat) to one address."""
    inputs = [{"txid": txid, "vout": vout, "sequence": sequence} for txid, vout, _ in coins]
    total_sat = sum(value_sat for _, _, value_sat in coins)
    psbt = chain.rpc("createpsbt", inputs, [{to: bitcoin(total_sat - fee_sat)}])
    ours = {"desc": known or COLLECTION.descriptor, "range": [0, 99]}
    return chain.rpc("utxoupdatepsbt", psbt, [ours])


def signed(chain, coins, to, **options):
    """A signed transaction that takes collection coins to an address, in hexadecimal."""
    final = chain.rpc("finalizepsbt", COLLECTION.sign(sweep(chain, coins, to, **options)))
    assert final["complete"]
    return final["hex"]


def inputs_of(*coins):
    """Coins as `createpsbt` takes them."""
    return [{"txid": txid, "vout": vout, "sequence": 0xFFFFFFFD} for txid, vout, _ in coins]


def txid_of(raw):
    """The id of a raw transaction."""
    return Transaction.from_string(raw).txid().hex()


def with_high_s(signature):
    """The other signature of the same message: DER with the hash type behind."""
    first = signature[4 : 4 + signature[3]]
    second = int.from_bytes(signature[6 + signature[3] : -1], "big")
    high = (ORDER - second).to_bytes(33, "big")
    body = bytes((2, len(first))) + first + bytes((2, len(high))) + high
    return bytes((0x30, len(body))) + body + signature[-1:]


def bitcoin(value_sat):
    """An amount as text, with 8 places."""
    return f"{value_sat // 10**8}.{value_sat % 10**8:08}"


class Funded:
    """A chain with mature collection coins of 50 bitcoin each, to be spent one by one."""

    COINS = 40
    VALUE_SAT = 50 * 10**8

    def __init__(self, chain):
        self.chain = chain
        blocks = [chain.mine(1, COLLECTION.script(i).hex())[0] for i in range(self.COINS)]
        ids = [chain.rpc("getblock", block)["tx"][0] for block in blocks]
        self._coins = iter([(txid, 0, self.VALUE_SAT) for txid in ids])
        chain.mine(100)

    def coin(self):
        """A coin that no other test touches: (txid, vout, value_sat)."""
        return next(self._coins)


@pytest.fixture(scope="module", params=["simulated", "core"])
def funded(request, tmp_path_factory):
    """One chain of each kind for a whole module."""
    chain = open_chain(request.param, tmp_path_factory.mktemp("chain"))
    try:
        yield Funded(chain)
    finally:
        chain.close()


def emptied(funded):
    """The module's chain, whose mempool is empty again after every test: to make a fixture of."""
    yield funded.chain
    if funded.chain.rpc("getrawmempool"):
        funded.chain.mine_mempool()
