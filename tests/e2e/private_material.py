"""Looks for the wallets' private keys in everything that processes have: files, environment, logs.

Searched is the secret itself in every form that a program would write it in, and anything that
looks like a private key at all.
"""

import base64
import hashlib
import re
from pathlib import Path

from embit import bip32

_FILE_BYTES_MAX = 64 * 1024 * 1024
_BASE58 = rb"[1-9A-HJ-NP-Za-km-z]"
_ANY_KEY = re.compile(
    rb"[a-zA-Z]prv"
    + _BASE58
    + rb"{80,120}|(?<![1-9A-Za-z])[cKL]"
    + _BASE58
    + rb"{51}(?![1-9A-Za-z])"
)
"""An extended private key, or a compressed single key in wallet import format with checksum."""
_CHILDREN = [(branch, index) for branch in (0, 1) for index in range(20)]


def forms_of(master_text, account="m/84h/1h/0h"):
    """Every form of a master key, its account key and its first child keys."""
    master = bip32.HDKey.from_base58(master_text)
    keys = [master, master.derive(account)]
    keys += [keys[1].derive(list(path)) for path in _CHILDREN]
    found = {master_text.encode()}
    for key in keys:
        raw = key.key.secret
        found |= {raw, raw.hex().encode(), base64.b64encode(raw), key.key.wif().encode()}
        found.add(key.to_base58().encode())
    return found


def _is_key(text):
    """Whether base58 text carries a right checksum: random letters must not cry wolf."""
    number = 0
    for letter in text:
        number = number * 58 + b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(
            letter
        )
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    digest = hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()
    return digest[:4] == data[-4:]


def holds(data, forms):
    """The first private thing in some bytes, or None."""
    for form in forms:
        if form in data:
            return form
    return next((m[0] for m in _ANY_KEY.finditer(data) if _is_key(m[0])), None)


def in_folder(folder, forms):
    """Files below `folder` that hold anything private, relative to it."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.stat().st_size < _FILE_BYTES_MAX, f"{path} is too large to be searched"
            if holds(path.read_bytes(), forms):
                found.add(str(path.relative_to(folder)))
    return found


def in_process(pid, forms):
    """What of a living process holds anything private: its words, environment, open files."""
    place = Path(f"/proc/{pid}")
    found = {name for name in ("cmdline", "environ") if holds(_read(place / name), forms)}
    for handle in (place / "fd").iterdir():
        try:
            target = handle.readlink()
        except OSError:
            continue
        if target.is_file() and target.stat().st_size < _FILE_BYTES_MAX:
            found |= {str(target)} if holds(_read(target), forms) else set()
    return found


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
