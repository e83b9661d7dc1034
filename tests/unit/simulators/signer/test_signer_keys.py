"""The signer's keys: files of their owner alone, descriptors, and the key that fits a coin."""

import bdkpython as bdk
import pytest
from embit import bip32, ec
from embit.networks import NETWORKS

from simulators.services.key_file import KeyFileError
from simulators.services.signer.keys import CollectionKey, new_collection_key
from simulators.services.signer.reserve import DescriptorError, Reserve
from tests.e2e.private_material import holds
from tests.unit.simulators.signer.signer_requests import derived, foreign


def test_the_reserve_descriptor_is_checked(ground):
    body, _, right = ground.reserve.partition("#")
    key = bip32.HDKey.from_seed(b"\x07" * 64, version=NETWORKS["regtest"]["xprv"])
    private = f"wpkh({key.to_base58()}/<0;1>/*)"
    for text_, sentence in (
        (body, "the reserve descriptor's checksum is missing"),
        (f"{body}#{right[:-1]}x", "the reserve descriptor's checksum is"),
        (body.replace("2,", "3,", 1) + "#" + right, "the reserve descriptor's checksum is"),
        (private, "the reserve descriptor holds a private key"),
        ("wsh(nonsense)", "the reserve descriptor cannot be read"),
        ("x" * 9_000, "the reserve descriptor has 9000 characters"),
    ):
        with pytest.raises(DescriptorError) as caught:
            Reserve(text_, 20)
        assert str(caught.value).startswith(sentence)
        assert key.to_base58() not in str(caught.value)


def test_keys_are_files_of_their_owner_alone(ground, tmp_path):
    path = tmp_path / "collection.key"
    made = new_collection_key(path, "regtest")
    assert path.stat().st_mode & 0o777 == 0o600
    assert holds(made.descriptor.encode(), ()) is None
    with pytest.raises(KeyFileError, match="exists and is not overwritten"):
        new_collection_key(path, "regtest")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="mend: chmod 600"):
        CollectionKey.of_file(path)
    path.chmod(0o600)
    assert CollectionKey.of_file(path).descriptor == made.descriptor
    secret = path.read_text().strip()
    path.write_text(secret[:-1] + "\n")
    with pytest.raises(KeyFileError) as caught:
        CollectionKey.of_file(path)
    assert secret[:20] not in str(caught.value)
    (tmp_path / "link.key").symlink_to(path)
    with pytest.raises(KeyFileError, match="cannot be read"):
        CollectionKey.of_file(tmp_path / "link.key")


def test_descriptors_read_alike_in_another_implementation(ground):
    for descriptor, index in ((ground.collection.descriptor, 5), (ground.reserve, 11)):
        kind = bdk.NetworkKind.TEST
        receive, change = bdk.Descriptor(descriptor, kind).to_single_descriptors()
        for branch, single in enumerate((receive, change)):
            theirs = single.derive_address(index, bdk.Network.REGTEST)
            ours = derived(descriptor, index, branch).address(NETWORKS["regtest"])
            assert str(theirs) == ours
    main = new_collection_key(ground.folder / "main.key", "main").descriptor
    assert "/84h/0h/0h]xpub" in main


def test_it_never_uses_a_private_key_that_does_not_fit_the_coin(ground):
    key = ground.collection
    path = bip32.parse_path("m/84h/1h/0h/0/0")
    own = derived(key.descriptor, 0).script_pubkey()
    assert isinstance(key.private_key(key.fingerprint, path, own), ec.PrivateKey)
    assert key.private_key(key.fingerprint, path, foreign(ground)) is None
    assert key.private_key(bytes(4), path, own) is None
    for wrong in ("m/84h/1h/0h/0", "m/84h/1h/0h/2/0", "m/84h/1h/0h/0/0h", "m", "m/0/0"):
        assert key.private_key(key.fingerprint, bip32.parse_path(wrong), own) is None
