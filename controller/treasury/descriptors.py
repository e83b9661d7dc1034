"""Reads the two wallets' output descriptors with bdkpython: scripts, addresses, sizes, no keys.

A descriptor with a private key is refused before anything else looks at it, and no error repeats
what it holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import bdkpython as bdk  # type: ignore[import-untyped]

from controller.config.private_keys import is_private
from controller.config.treasury import Network
from controller.money.facts import Place, Wallet

_NETWORKS: Mapping[Network, bdk.Network] = {
    Network.MAIN: bdk.Network.BITCOIN,
    Network.TESTNET4: bdk.Network.TESTNET4,
    Network.SIGNET: bdk.Network.SIGNET,
    Network.REGTEST: bdk.Network.REGTEST,
}
_TYPES = {
    bdk.DescriptorType.WPKH: "wpkh",
    bdk.DescriptorType.WSH: "wsh",
    bdk.DescriptorType.WSH_SORTED_MULTI: "wsh",
    bdk.DescriptorType.TR: "tr",
}
_COLLECTION_TYPES = {"wpkh", "wsh"}
_TXIN_WEIGHT = 4 * (36 + 1 + 4) + 1
"""Outpoint, empty script, sequence; and the count of the witness's items."""
_KEY = re.compile(r"[a-zA-Z]pub[1-9A-HJ-NP-Za-km-z]{20,}|[0-9a-f]{64}")
"""Every public key of a descriptor: extended, or single by its x coordinate."""
_CHECKSUM = re.compile(r"#[a-z0-9]{8}$")


class DescriptorError(Exception):
    """A descriptor that cannot be used. Says why and how to mend, never what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedWallet:
    """One wallet as it is watched. `branches`: single descriptors with checksum, receiving first.

    `sha256`: of the whole descriptor as bdkpython writes it, in hexadecimal; unlike the checksum,
    which finds mistypings, nobody makes another descriptor for it.
    `scripts`: every watched script → where it comes from. `input_weight`: of one signed input.
    """

    wallet: Wallet
    sha256: str
    branches: tuple[str, ...]
    is_ranged: bool
    addresses: int
    input_weight: int
    network: Network
    scripts: Mapping[bytes, Place]

    def script(self, index: int) -> bytes:
        """The receiving script at `index`, derived anew from the descriptor."""
        return bytes(self._derive(index).script_pubkey().to_bytes())

    def address(self, index: int) -> str:
        """The receiving address at `index`."""
        return str(self._derive(index))

    def _derive(self, index: int) -> bdk.Address:
        if not 0 <= index < self.addresses:
            raise DescriptorError(
                f"{self.wallet}: index {index} is outside the {self.addresses} watched addresses; "
                f"raise `{self.wallet}.addresses`"
            )
        return _descriptor(self.branches[0], self.network, self.wallet).derive_address(
            index, _NETWORKS[self.network]
        )


def are_apart(one: WatchedWallet, other: WatchedWallet) -> bool:
    """Whether two wallets have no key and no address in common."""
    keys = [set(_KEY.findall(" ".join(watched.branches))) for watched in (one, other)]
    return keys[0].isdisjoint(keys[1]) and one.scripts.keys().isdisjoint(other.scripts.keys())


def watch(wallet: Wallet, text: str, network: Network, addresses: int) -> WatchedWallet:
    """Read a descriptor and derive what is watched. Raises DescriptorError; takes about 0.5 ms an
    address.
    """
    text = text.strip()
    if is_private(text):
        raise DescriptorError(
            f"{wallet}: the descriptor holds a PRIVATE KEY; take the file off this machine, treat "
            "the key as known to others, and write the public descriptor (xpub) here"
        )
    if not _CHECKSUM.search(text):
        raise DescriptorError(
            f"{wallet}: the descriptor has no checksum; copy it whole, with the # and eight "
            "characters at its end"
        )
    parsed = _descriptor(text, network, wallet)
    kind = _TYPES.get(parsed.desc_type())
    if kind is None or (wallet is Wallet.COLLECTION and kind not in _COLLECTION_TYPES):
        allowed = "wpkh(…) or wsh(…)" + ("" if wallet is Wallet.COLLECTION else " or tr(…)")
        raise DescriptorError(
            f"{wallet}: this kind of descriptor is not supported; use {allowed}, whose "
            "transactions have their id before they are signed"
        )
    if wallet is Wallet.RESERVE and not parsed.has_wildcard():
        raise DescriptorError(
            f"{wallet}: the descriptor gives one address only; every sweep needs a fresh one, so "
            "it must end in /*"
        )
    branches = parsed.to_single_descriptors() if parsed.is_multipath() else [parsed]
    count = addresses if parsed.has_wildcard() else 1
    return WatchedWallet(
        wallet=wallet,
        sha256=sha256(str(parsed).encode("ascii")).hexdigest(),
        branches=tuple(str(branch) for branch in branches),
        is_ranged=parsed.has_wildcard(),
        addresses=count,
        input_weight=_TXIN_WEIGHT + branches[0].max_weight_to_satisfy(),
        network=network,
        scripts={
            branch.derive_address(index, _NETWORKS[network]).script_pubkey().to_bytes(): Place(
                wallet=wallet, branch=number, index=index
            )
            for number, branch in enumerate(branches)
            for index in range(count)
        },
    )


def _descriptor(text: str, network: Network, wallet: Wallet) -> bdk.Descriptor:
    kind = bdk.NetworkKind.MAIN if network is Network.MAIN else bdk.NetworkKind.TEST
    try:
        parsed = bdk.Descriptor(text, kind)
        parsed.sanity_check()
    except bdk.DescriptorError.InvalidDescriptorChecksum:
        raise DescriptorError(
            f"{wallet}: the descriptor's checksum is wrong: it was changed or mistyped; copy it "
            "again from the wallet that made it"
        ) from None
    except (bdk.DescriptorError, bdk.MiniscriptError):
        raise DescriptorError(
            f"{wallet}: is no descriptor that can be read for network {network}; are its keys "
            f"for {'main (xpub)' if network is Network.MAIN else 'a test network (tpub)'}?"
        ) from None
    if parsed.to_string_with_secret() != str(parsed):
        raise DescriptorError(f"{wallet}: the descriptor holds a PRIVATE KEY; take it off here")
    return parsed


def script_of(address: str, network: Network) -> bytes:
    """The script of an address. Raises DescriptorError when it is none of this network."""
    try:
        return bytes(bdk.Address(address, _NETWORKS[network]).script_pubkey().to_bytes())
    except bdk.AddressParseError:
        raise DescriptorError(f"{address}: is no address of network {network}") from None
