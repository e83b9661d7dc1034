"""The collection's key (BIP 84) and the reserve's cosigners (BIP 48), made and read from files.

Secrets leave this module as signatures only; what is printed is public.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from embit import bip32, ec, script  # type: ignore[import-untyped]
from embit.descriptor.checksum import add_checksum  # type: ignore[import-untyped]
from embit.networks import NETWORKS  # type: ignore[import-untyped]

from simulators.services.key_file import KeyFileError, read_key, write_key

NETWORK_NAMES = ("main", "testnet4", "signet", "regtest")
COSIGNERS = 3
NEEDED = 2
_HARDENED = bip32.HARDENED_INDEX
_MAIN = NETWORKS["main"]["xprv"]
_TEST = NETWORKS["regtest"]["xprv"]
"""Every network for tests has the same version bytes and coin type 1."""
_KNOWN = (_MAIN, _TEST)


class CollectionKey:
    """Account 0 of one master key; signs for addresses of branches 0 and 1."""

    def __init__(self, master: bip32.HDKey) -> None:
        self._path = bip32.parse_path(f"m/84h/{_coin(master)}h/0h")
        self._account = master.derive(self._path)
        self.fingerprint: bytes = master.my_fingerprint
        origin = _origin(self.fingerprint, f"84h/{_coin(master)}h/0h")
        public = self._account.to_public().to_base58()
        self.descriptor: str = add_checksum(f"wpkh({origin}{public}/<0;1>/*)")
        self.for_tests = master.version == _TEST

    @classmethod
    def of_file(cls, path: Path) -> "CollectionKey":
        """Read the master key. Raises KeyFileError."""
        return cls(_read_master(path))

    def private_key(
        self, fingerprint: bytes, path: Sequence[int], script_pubkey: script.Script
    ) -> ec.PrivateKey | None:
        """Return the key at `path`, if it is ours and `script_pubkey` pays to it alone."""
        depth = len(self._path)
        if fingerprint != self.fingerprint or list(path[:depth]) != list(self._path):
            return None
        branch_and_index = list(path[depth:])
        if len(branch_and_index) != 2 or branch_and_index[0] not in (0, 1):
            return None
        if branch_and_index[1] >= _HARDENED:
            return None
        key = self._account.derive(branch_and_index).key
        return key if script.p2wpkh(key) == script_pubkey else None


def new_collection_key(path: Path, network: str) -> CollectionKey:
    """Make the key and its file. Raises KeyFileError when the file exists."""
    _write_master(path, network)
    return CollectionKey.of_file(path)


def new_reserve(folder: Path, network: str) -> str:
    """Make the cosigners' files in `folder`; return the public 2-of-3 descriptor.

    Raises KeyFileError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"{folder}: cannot be made: {error.strerror}") from None
    publics = []
    for number in range(1, COSIGNERS + 1):
        path = folder / f"cosigner-{number}.key"
        _write_master(path, network)
        master = _read_master(path)
        account = f"48h/{_coin(master)}h/0h/2h"
        public = master.derive(f"m/{account}").to_public().to_base58()
        publics.append(f"{_origin(master.my_fingerprint, account)}{public}/<0;1>/*")
    descriptor: str = add_checksum(f"wsh(sortedmulti({NEEDED},{','.join(publics)}))")
    return descriptor


def _write_master(path: Path, network: str) -> None:
    version = _MAIN if network == "main" else _TEST
    master = bip32.HDKey.from_seed(secrets.token_bytes(64), version=version)
    write_key(path, master.to_base58())


def _read_master(path: Path) -> bip32.HDKey:
    line = read_key(path)
    try:
        master = bip32.HDKey.from_base58(line)
    except Exception:  # noqa: BLE001 - whatever the library says may quote the secret
        master = None
    if master is None or not master.is_private or master.depth or master.version not in _KNOWN:
        raise KeyFileError(f"{path}: is no BIP 32 master key; make one with the command `new`")
    return master


def _coin(master: bip32.HDKey) -> int:
    return 0 if master.version == _MAIN else 1


def _origin(fingerprint: bytes, path: str) -> str:
    return f"[{fingerprint.hex()}/{path}]"
