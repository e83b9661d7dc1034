"""Output descriptors: the scripts that they stand for, and how to spend those.

Known are addr(), raw(), and what embit reads: pkh, wpkh, sh, wsh with multi, sortedmulti and
miniscript, tr; ranges and one `<0;1>` of several paths. A range is bounded lower than Core's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from embit.descriptor import Descriptor  # type: ignore[import-untyped]
from embit.descriptor.checksum import add_checksum, checksum  # type: ignore[import-untyped]
from embit.hashes import hash160  # type: ignore[import-untyped]
from embit.networks import NETWORKS  # type: ignore[import-untyped]

from simulators.services.chain.errors import ADDRESS_OR_KEY, PARAMETER, CallError
from simulators.services.chain.script import plain_descriptor, script_of

RANGE_END = 1_000
SCRIPTS_MAX = 10_000
HARDENED = 1 << 31
_FUNCTIONS = {"pkh", "wpkh", "sh", "wsh", "tr"}


@dataclass(frozen=True, slots=True)
class KeyOrigin:
    """A public key, the fingerprint of its root, and the path from there."""

    key: bytes
    fingerprint: bytes
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """One script of a descriptor: `text` describes it alone; the rest is what spending it needs."""

    script: bytes
    text: str
    redeem_script: bytes | None = None
    witness_script: bytes | None = None
    origins: tuple[KeyOrigin, ...] = ()
    taproot: bool = False


def expand(wanted: object) -> tuple[Derived, ...]:
    """Scripts of a descriptor, or of `{"desc": …, "range": end or [begin, end]}`.

    Raises CallError.
    """
    first, last = 0, RANGE_END
    if isinstance(wanted, Mapping):
        if wanted.get("desc") is None:
            raise CallError(PARAMETER, "Descriptor needs to be provided in scan object")
        if wanted.get("range") is not None:
            first, last = _range(wanted["range"])
        wanted = wanted["desc"]
    if not isinstance(wanted, str):
        raise CallError(PARAMETER, "Scan object needs to be either a string or an object")
    return _expand(wanted, first, last)


@lru_cache(maxsize=16)
def _expand(text: str, first: int, last: int) -> tuple[Derived, ...]:
    text = _checked(text)
    inner = text.partition("(")[2].removesuffix(")")
    if text.startswith("addr("):
        script = script_of(inner)
        if script is None:
            raise CallError(ADDRESS_OR_KEY, "Address is not valid")
        return (Derived(script, plain_descriptor(script)),)
    if text.startswith("raw("):
        try:
            script = bytes.fromhex(inner)
        except ValueError:
            raise CallError(ADDRESS_OR_KEY, "Raw script is not hex") from None
        return (Derived(script, plain_descriptor(script)),)
    if text.partition("(")[0] not in _FUNCTIONS:
        raise CallError(ADDRESS_OR_KEY, f"'{text}' is not a valid descriptor function")
    try:
        descriptor = Descriptor.from_string(text)
    except Exception as error:  # noqa: BLE001 - embit raises whatever its parsing stumbles over
        raise CallError(ADDRESS_OR_KEY, f"{text!r}: is no descriptor: {error}") from None
    _check_network(descriptor)
    indexes = range(first, last + 1) if descriptor.is_wildcard else range(1)
    branches = range(descriptor.num_branches)
    if len(indexes) * len(branches) > SCRIPTS_MAX:
        raise CallError(PARAMETER, f"Range is too large: more than {SCRIPTS_MAX} scripts")
    try:
        return tuple(_derived(descriptor, i, branch) for i in indexes for branch in branches)
    except Exception:  # noqa: BLE001 - as above
        said = f"Cannot derive script without private keys: '{text}'"
        raise CallError(ADDRESS_OR_KEY, said) from None


def _derived(descriptor: Any, index: int, branch: int) -> Derived:
    one = descriptor.derive(index, branch_index=branch)
    text = one.to_string().replace("sortedmulti(", "multi(")
    keys = one.keys
    # Only the order that a sorted script really has can be told from the script.
    order = sorted(keys, key=lambda key: bytes(key.sec())) if descriptor.is_sorted else keys
    named = [_named(key, taproot=one.is_taproot) for key in order]
    for key, name in zip(keys, named, strict=True):
        text = text.replace(str(key), name, 1)
    redeem, witness = one.redeem_script(), one.witness_script()
    return Derived(
        bytes(one.script_pubkey().data),
        str(add_checksum(text)),
        None if redeem is None else bytes(redeem.data),
        None if witness is None else bytes(witness.data),
        tuple(_origin(key) for key in keys),
        bool(one.is_taproot),
    )


def _origin(key: Any) -> KeyOrigin:
    public = bytes(key.sec())
    if key.origin is None:
        return KeyOrigin(public, bytes(hash160(public))[:4], ())
    return KeyOrigin(public, bytes(key.origin.fingerprint), tuple(key.origin.derivation))


def _named(key: Any, *, taproot: bool) -> str:
    origin = _origin(key)
    path = "".join(
        f"/{step - HARDENED}h" if step >= HARDENED else f"/{step}" for step in origin.path
    )
    public = origin.key[1:] if taproot else origin.key
    return f"[{origin.fingerprint.hex()}{path}]{public.hex()}"


def _checked(text: str) -> str:
    """The descriptor without its checksum, which must fit where it is given."""
    body, mark, given = text.partition("#")
    try:
        computed = checksum(body)
    except Exception:  # noqa: BLE001 - as above
        raise CallError(ADDRESS_OR_KEY, "Invalid characters in payload") from None
    if mark and len(given) != len(computed):
        said = f"Expected 8 character checksum, not {len(given)} characters"
        raise CallError(ADDRESS_OR_KEY, said)
    if mark and given != computed:
        said = f"Provided checksum '{given}' does not match computed checksum '{computed}'"
        raise CallError(ADDRESS_OR_KEY, said)
    return body


def _check_network(descriptor: Any) -> None:
    ours = (NETWORKS["regtest"]["xpub"], NETWORKS["regtest"]["xprv"])
    for key in descriptor.keys:
        if key.is_extended and key.key.version not in ours:
            said = f"key '{key.key.to_base58()}' is not valid: it is no key of regtest"
            raise CallError(ADDRESS_OR_KEY, said)


def _range(wanted: object) -> tuple[int, int]:
    match wanted:
        case bool():
            pass
        case int():
            return _bounded(0, wanted)
        case [int(low), int(high)] if low > high:
            said = "Range specified as [begin,end] must not have begin after end"
            raise CallError(PARAMETER, said)
        case [int(low), int(high)]:
            return _bounded(low, high)
    raise CallError(PARAMETER, "Range must be specified as end or as [begin,end]")


def _bounded(low: int, high: int) -> tuple[int, int]:
    if low < 0:
        raise CallError(PARAMETER, "Range should be greater or equal than 0")
    if not 0 <= high < HARDENED:
        raise CallError(PARAMETER, "End of range is too high")
    return low, high
