"""Finds private keys of wallets in a file that must hold none, before anything of it is shown."""

import re
from collections.abc import Iterator

_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
_PRIVATE = re.compile(rf"(?<!{_BASE58})[a-zA-Z]prv{_BASE58}{{20,}}|\b[5KLc9]{_BASE58}{{50,51}}\b")
"""An extended private key of any kind, or a single key in wallet import format.

The letters `prv` stand inside one public key of about two thousand by chance; only where a key
begins do they say anything.
"""


def is_private(text: str) -> bool:
    """Whether a private key stands somewhere in the text."""
    return _PRIVATE.search(text) is not None


def private_keys(value: object, place: str = "") -> Iterator[str]:
    """The dotted paths in parsed TOML at which a private key stands; none repeats one itself."""
    match value:
        case str() if is_private(value):
            yield place
        case dict():
            for name, inner in value.items():
                shown = "…" if is_private(name) else name
                path = f"{place}.{shown}".removeprefix(".")
                if shown != name:
                    yield path
                yield from private_keys(inner, path)
        case list():
            for number, inner in enumerate(value, 1):
                yield from private_keys(inner, f"{place}[{number}]")
