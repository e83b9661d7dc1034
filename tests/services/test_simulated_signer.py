"""The simulated signer as a process of its own: its folder, its crashes, its silence about keys."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import bdkpython as bdk
import pytest
from embit import bip32
from embit.descriptor import Descriptor
from embit.networks import NETWORKS
from embit.psbt import PSBT, DerivationPath
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from tests.e2e.private_material import holds
from tests.services.chain_ground import RpcError

SIGNER = (sys.executable, "-m", "simulators.services.signer")


def run(*arguments):
    command = [*SIGNER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    new = run("new", "--key-file", folder / "collection.key", "--network", "regtest")
    reserve = run("new-reserve", "--folder", folder / "reserve")
    assert (new.returncode, reserve.returncode) == (0, 0)
    return folder, new.stdout.strip(), reserve.stdout.strip()


@contextmanager
def signer(keys, folder, *more):
    key_folder, collection, reserve = keys
    for name in ("in", "out"):
        (folder / name).mkdir(exist_ok=True)
    command = [
        *SIGNER,
        *("--inbox", folder / "in", "--outbox", folder / "out", "--reserve", reserve),
        *("--key-file", key_folder / "collection.key", "--max-fee-sat", "5000", *more),
    ]
    with (folder / "log").open("a+") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            ready = json.loads(process.stdout.readline())
            assert (ready["ready"], ready["collection"]) == (True, collection)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
            process.stdout.close()


def request(keys, number=0, fee_sat=900):
    _, collection, reserve = keys
    coin = Descriptor.from_string(collection).derive(number, branch_index=0)
    before = Transaction(
        vin=[TransactionInput(bytes([number + 1]) * 32, 0)],
        vout=[TransactionOutput(80_000, coin.script_pubkey())],
    )
    target = Descriptor.from_string(reserve).derive(number, branch_index=0).script_pubkey()
    psbt = PSBT(
        Transaction(
            vin=[TransactionInput(before.txid(), 0, sequence=0xFFFFFFFD)],
            vout=[TransactionOutput(80_000 - fee_sat, target)],
        )
    )
    psbt.inputs[0].non_witness_utxo = before
    psbt.inputs[0].bip32_derivations[coin.key.get_public_key()] = DerivationPath(
        coin.key.origin.fingerprint, coin.key.origin.derivation
    )
    return psbt.to_base64()


def put(folder, name, text):
    beside = folder / "in" / f".{name}"
    beside.write_text(text)
    beside.replace(folder / "in" / name)


def names(folder):
    return sorted(path.name for path in (folder / "out").iterdir())


def answered(folder, name, within_s=30.0):
    path = folder / "out" / name
    end_s = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < end_s, f"no {name}; there is {names(folder)}"
        time.sleep(0.02)
    return path.read_text()


def test_requests_are_signed_or_refused_and_no_key_is_shown(keys, tmp_path):
    with signer(keys, tmp_path) as process:
        put(tmp_path, "1-1.psbt", request(keys))
        put(tmp_path, "2-1.psbt", request(keys, fee_sat=5_001))
        put(tmp_path, "3-1.psbt", "junk!")
        put(tmp_path, "huge.psbt", "A" * 1_100_000)
        (tmp_path / "in" / "folder.psbt").mkdir()
        (tmp_path / "in" / "link.psbt").symlink_to(keys[0] / "collection.key")
        (tmp_path / "in" / "note.txt").write_text(request(keys))
        signed = PSBT.from_base64(answered(tmp_path, "1-1.psbt").strip())
        assert len(signed.inputs[0].partial_sigs) == 1
        assert signed.inputs[0].final_scriptwitness is None
        assert answered(tmp_path, "2-1.refused") == "its fee of 5001 sat is above 5000 sat\n"
        assert answered(tmp_path, "3-1.refused") == "the request is not base64 text\n"
        assert "larger than 1048576 bytes" in answered(tmp_path, "huge.refused")
        assert "cannot be read" in answered(tmp_path, "folder.refused")
        assert "cannot be read" in answered(tmp_path, "link.refused")
        about = Path(f"/proc/{process.pid}")
        shown = (about / "environ").read_bytes() + (about / "cmdline").read_bytes()
    assert len(names(tmp_path)) == 6
    shown += b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    shown += (tmp_path / "log").read_bytes() + keys[1].encode() + keys[2].encode()
    files = [keys[0] / "collection.key", *sorted((keys[0] / "reserve").iterdir())]
    assert len(files) == 4
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        line = path.read_text().strip()
        master = bip32.HDKey.from_base58(line)
        assert master.is_private
        for secret in (line.encode(), master.secret, master.secret.hex().encode()):
            assert secret not in shown
    assert holds(shown, ()) is None


def asked_of_node(chain, keys, fee_sat):
    """A request as the treasury makes it on its node: a mined coin of ours, to the reserve."""
    _, collection, reserve = keys
    coin = Descriptor.from_string(collection).derive(5, branch_index=0)
    block = chain.mine(1, script_hex=coin.script_pubkey().data.hex())[0]
    chain.mine(100)
    txid = chain.rpc("getblock", block)["tx"][0]
    target = Descriptor.from_string(reserve).derive(2, branch_index=0)
    value_sat = 50 * 10**8 - fee_sat
    amount = f"{value_sat // 10**8}.{value_sat % 10**8:08d}"
    made = chain.rpc(
        "createpsbt",
        [{"txid": txid, "vout": 0, "sequence": 0xFFFFFFFD}],
        [{target.address(NETWORKS["regtest"]): amount}, {"data": "ab" * 32}],
    )
    known = [{"desc": descriptor, "range": [0, 20]} for descriptor in (collection, reserve)]
    return chain.rpc("utxoupdatepsbt", made, known), target.script_pubkey().data.hex()


def test_what_a_node_asks_it_signs_and_the_node_mines_it(chain, keys, tmp_path):
    asked, target = asked_of_node(chain, keys, fee_sat=1_000)
    with signer(keys, tmp_path):
        put(tmp_path, "1-1.psbt", asked)
        given = answered(tmp_path, "1-1.psbt").strip()
    read = bdk.Psbt(given)
    assert read.fee() == 1_000
    assert read.finalize().could_finalize
    whole = chain.rpc("combinepsbt", [asked, given])
    final = chain.rpc("finalizepsbt", whole)
    assert final["complete"]
    (verdict,) = chain.rpc("testmempoolaccept", [final["hex"]])
    assert (verdict["allowed"], verdict["txid"]) == (
        True,
        str(bdk.Psbt(asked).extract_tx_unchecked_fee_rate().compute_txid()),
    )
    chain.rpc("sendrawtransaction", final["hex"])
    chain.mine_mempool()
    found = chain.rpc("gettxout", verdict["txid"], 0)
    assert (found["scriptPubKey"]["hex"], found["confirmations"]) == (target, 1)


def spoilt(keys, folder, asked, fault):
    folder.mkdir()
    with signer(keys, folder, "--fault", fault):
        put(folder, "1-1.psbt", asked)
        return answered(folder, "1-1.psbt").strip()


def test_a_node_does_not_join_or_finish_what_a_spoilt_signer_gives(chain, keys, tmp_path):
    asked, _ = asked_of_node(chain, keys, fee_sat=1_000)
    for fault in ("other-output", "extra-input"):
        given = spoilt(keys, tmp_path / fault, asked, fault)
        with pytest.raises(RpcError, match="PSBTs not compatible"):
            chain.rpc("combinepsbt", [asked, given])
    given = spoilt(keys, tmp_path / "unsigned", asked, "no-signature")
    assert not chain.rpc("finalizepsbt", chain.rpc("combinepsbt", [asked, given]))["complete"]
    given = spoilt(keys, tmp_path / "garbage", asked, "garbage")
    with pytest.raises(RpcError, match="TX decode failed"):
        chain.rpc("combinepsbt", [asked, given])


@pytest.mark.parametrize("chain", ["core"], indirect=True)
def test_bitcoind_does_not_finish_a_signature_that_leaves_the_outputs_open(chain, keys, tmp_path):
    asked, _ = asked_of_node(chain, keys, fee_sat=1_000)
    given = spoilt(keys, tmp_path / "open", asked, "wrong-sighash")
    assert not chain.rpc("finalizepsbt", chain.rpc("combinepsbt", [asked, given]))["complete"]
    assert bdk.Psbt(given).extract_tx_unchecked_fee_rate().compute_txid() == (
        bdk.Psbt(asked).extract_tx_unchecked_fee_rate().compute_txid()
    )


def test_a_killed_signer_takes_up_what_has_no_answer(keys, tmp_path):
    with signer(keys, tmp_path) as process:
        put(tmp_path, "1-1.psbt", request(keys))
        first = answered(tmp_path, "1-1.psbt")
        process.kill()
        process.wait(30)
    put(tmp_path, "2-1.psbt", request(keys, number=1))
    (tmp_path / "out" / "1-1.psbt").unlink()
    (tmp_path / "out" / ".3-1.psbt.1").write_text("half an ans")
    with signer(keys, tmp_path):
        assert answered(tmp_path, "1-1.psbt") == first
        answered(tmp_path, "2-1.psbt")


def test_an_outbox_away_for_a_while_costs_no_request(keys, tmp_path):
    with signer(keys, tmp_path) as process:
        (tmp_path / "out").rename(tmp_path / "away")
        put(tmp_path, "1-1.psbt", request(keys))
        end_s = time.monotonic() + 30
        while "the exchange folder: " not in (tmp_path / "log").read_text():
            assert time.monotonic() < end_s
            time.sleep(0.05)
        assert process.poll() is None
        (tmp_path / "away").rename(tmp_path / "out")
        answered(tmp_path, "1-1.psbt")


def test_a_late_signer_is_late(keys, tmp_path):
    with signer(keys, tmp_path, "--fault", "late:2"):
        began_s = time.monotonic()
        put(tmp_path, "1-1.psbt", request(keys))
        answered(tmp_path, "1-1.psbt")
        assert time.monotonic() - began_s >= 2.0


def test_a_compromised_signer_sends_coins_elsewhere(keys, tmp_path):
    with signer(keys, tmp_path, "--fault", "other-output"):
        put(tmp_path, "1-1.psbt", request(keys))
        signed = PSBT.from_base64(answered(tmp_path, "1-1.psbt").strip())
    asked = PSBT.from_base64(request(keys))
    assert isinstance(signed.outputs[0].script_pubkey, Script)
    assert signed.outputs[0].script_pubkey != asked.outputs[0].script_pubkey
    assert len(signed.inputs[0].partial_sigs) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--reserve": "wsh(nonsense)"}, "the reserve descriptor cannot be read"),
        ({"--key-file": "absent.key"}, "cannot be read: No such file"),
        ({"--outbox": "in"}, "inbox and outbox are one folder"),
        ({"--fault": "laziness"}, "is not one of"),
        ({"--max-fee-sat": "0"}, "is not a whole number from 1"),
    ],
)
def test_wrong_usage_is_status_2_and_one_sentence(keys, tmp_path, change, sentence):
    options = {
        "--inbox": tmp_path / "in",
        "--outbox": tmp_path / "out",
        "--reserve": keys[2],
        "--key-file": keys[0] / "collection.key",
    }
    options |= {k: tmp_path / v if v in ("in", "absent.key") else v for k, v in change.items()}
    done = run(*(word for pair in options.items() for word in pair))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reserve_of_another_network_is_refused(keys, tmp_path):
    main = run("new-reserve", "--folder", tmp_path / "main", "--network", "main").stdout.strip()
    assert (
        NETWORKS["main"]["xpub"]
        == bip32.HDKey.from_base58(main.partition("]")[2].partition("/")[0]).version
    )
    folders = ("--inbox", tmp_path / "in", "--outbox", tmp_path / "out")
    done = run(*folders, "--reserve", main, "--key-file", keys[0] / "collection.key")
    assert done.returncode == 2
    assert "the reserve is of another network than the key" in done.stderr
