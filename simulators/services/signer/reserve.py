"""What belongs to the reserve: the scripts of a public descriptor's receive branch."""

from embit import script  # type: ignore[import-untyped]
from embit.descriptor import Descriptor  # type: ignore[import-untyped]
from embit.descriptor.checksum import checksum  # type: ignore[import-untyped]
from embit.networks import NETWORKS  # type: ignore[import-untyped]

DESCRIPTOR_CHARS_MAX = 8_192
_MAIN_PUBLIC = NETWORKS["main"]["xpub"]


class DescriptorError(ValueError):
    """The reserve descriptor cannot be used; says why and how to mend it."""


class Reserve:
    """The first `size` addresses of branch 0; derived when they are first asked for."""

    def __init__(self, text: str, size: int) -> None:
        """Raises DescriptorError."""
        self._descriptor = _parse(text)
        self.size = size
        self.for_tests = all(k.key.version != _MAIN_PUBLIC for k in self._descriptor.keys)
        self._scripts: set[bytes] = set()
        self._next = 0

    def owns(self, script_pubkey: script.Script) -> bool:
        """Whether one of the addresses pays by this script."""
        wanted = script_pubkey.data
        while wanted not in self._scripts and self._next < self.size:
            derived = self._descriptor.derive(self._next, branch_index=0)
            self._scripts.add(derived.script_pubkey().data)
            self._next += 1
        return wanted in self._scripts


def _parse(text: str) -> Descriptor:
    body, _, given = text.strip().partition("#")
    if len(text) > DESCRIPTOR_CHARS_MAX:
        raise DescriptorError(f"the reserve descriptor has {len(text)} characters; is it one?")
    try:
        right = checksum(body)
        descriptor = Descriptor.from_string(body)
        private = any(key.is_private for key in descriptor.keys)
        usable = descriptor.is_segwit and all(
            key.is_extended and key.is_wildcard for key in descriptor.keys
        )
    except Exception:  # noqa: BLE001 - the library raises whatever it meets, and may quote a key
        raise DescriptorError("the reserve descriptor cannot be read; copy it whole") from None
    if private:
        raise DescriptorError("the reserve descriptor holds a private key; give the public one")
    if given != right:
        raise DescriptorError(
            f"the reserve descriptor's checksum is {given or 'missing'}, not the one of its text; "
            f"copy it whole"
        )
    if not usable:
        raise DescriptorError("the reserve descriptor needs xpubs with /* and segwit addresses")
    return descriptor
