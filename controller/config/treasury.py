"""The form of `treasury.toml`, and how it is loaded. Money is whole satoshis, rates are sat/kvB.

Here descriptors are text; controller/treasury/descriptors.py reads them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from controller.config.load import fill, read_table
from controller.config.private_keys import private_keys
from controller.config.problems import ConfigError, Problem, shown
from controller.config.schema import Host, Name, Number, SecondsOrZero, Section, Whole
from controller.money.amounts import SAT_MAX

Sat = Annotated[Whole, Field(ge=0, le=SAT_MAX)]
Feerate = Annotated[Whole, Field(ge=100, le=10_000_000)]
"""sat/kvB: 1000 are 1 sat/vB. Nodes relay nothing below 100."""
Url = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9:._\[\]-]+(/[A-Za-z0-9._/-]*)?$")]
Descriptor = Annotated[str, Field(min_length=10, max_length=4_000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{14,90}$")]
LongSeconds = Annotated[Number, Field(gt=0, le=400 * 86_400)]


class Network(StrEnum):
    """Which chain: the node must be on it, the descriptors' keys must be for it."""

    MAIN = "main"
    TESTNET4 = "testnet4"
    SIGNET = "signet"
    REGTEST = "regtest"


class TreasurySection(Section):
    """`[treasury]`: whose money. `from_height`: the first block that may concern the wallets.

    `state_dir` is relative to the file's folder.
    """

    id: Name
    name: str = Field(default="", max_length=200)
    state_dir: Path = Path("treasury")
    from_height: Annotated[Whole, Field(ge=0, le=100_000_000)] = 0


class NodeSection(Section):
    """`[node]`: the Bitcoin Core node that is believed, and how it is asked."""

    url: Url
    cookie_file: Path
    network: Network
    poll_s: Annotated[Number, Field(ge=0.05, le=600)] = 5.0
    timeout_s: Annotated[Number, Field(ge=0.5, le=300)] = 30.0
    tip_age_max_s: LongSeconds = 7_200.0
    audit_every_s: SecondsOrZero = 600.0
    audit_timeout_s: Annotated[Number, Field(ge=1, le=7_200)] = 1_800.0


class WalletSection(Section):
    """`[collection]` and `[reserve]`: a public output descriptor; never a private key.

    `sha256` pins it, as `naryn treasury check` prints it. `addresses`: how many of each branch are
    watched.
    """

    descriptor: Descriptor
    sha256: Sha256 | None = None
    addresses: Annotated[Whole, Field(ge=30, le=20_000)] = 1_000


class SweepSection(Section):
    """`[sweep]`: when collected coins go to the reserve, and what that may cost.

    Without this table the treasury watches and books, and moves nothing.
    """

    min_sweep_sat: Annotated[Whole, Field(ge=10_000, le=SAT_MAX)]
    feerate_sat_kvb: Feerate
    feerate_max_sat_kvb: Feerate
    max_fee_sat: Annotated[Whole, Field(ge=1, le=100_000_000)]
    max_fee_percent: Annotated[Whole, Field(ge=1, le=50)] = 5
    every_s: Annotated[Number, Field(ge=0, le=400 * 86_400)] = 86_400.0
    signer_patience_s: LongSeconds = 86_400.0
    bump_after_s: LongSeconds = 86_400.0
    exchange_dir: Path | None = None

    @model_validator(mode="after")
    def _room_above(self) -> Self:
        # Signatures are sometimes a little shorter than planned for, which raises the rate.
        if self.feerate_sat_kvb * 11 > self.feerate_max_sat_kvb * 10:
            raise ValueError("feerate_max_sat_kvb must be at least 1.1 times feerate_sat_kvb")
        return self


class PoolSection(Section):
    """`[[pool]]`: what a pool says of itself is held against the chain.

    `addresses`: where it pays to; each must come from one of the two descriptors. It owes within
    `pay_every_s`, from `threshold_sat` on; `grace_s` is the time to arrive and confirm.
    """

    id: Name
    kind: Literal["ocean"]
    url: Url
    addresses: tuple[Address, ...] = Field(min_length=1, max_length=100)
    pay_every_s: LongSeconds
    grace_s: LongSeconds = 86_400.0
    threshold_sat: Sat = 0
    tolerance_permille: Annotated[Whole, Field(ge=0, le=1_000)] = 0
    poll_s: Annotated[Number, Field(ge=0.2, le=86_400)] = 300.0
    timeout_s: Annotated[Number, Field(ge=0.2, le=120)] = 20.0
    window_days: Annotated[Whole, Field(ge=1, le=400)] = 35


class HealthSection(Section):
    """`[health]`: where the treasury answers `/healthz` and `/readyz`; `port = 0` for nowhere."""

    host: Host = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8442


class TreasuryFile(Section):
    """The whole of `treasury.toml`."""

    treasury: TreasurySection
    node: NodeSection
    collection: WalletSection
    reserve: WalletSection
    sweep: SweepSection | None = None
    pool: tuple[PoolSection, ...] = Field(default=(), max_length=50)
    health: HealthSection = HealthSection()


@dataclass(frozen=True, slots=True, kw_only=True)
class TreasuryConfig:
    """A checked `treasury.toml`; paths inside are resolved against the file's folder."""

    path: Path
    file: TreasuryFile

    @property
    def state_dir(self) -> Path:
        """The treasury's own folder for everything it writes."""
        return self.path.parent / self.file.treasury.state_dir

    @property
    def cookie_file(self) -> Path:
        """Where the node leaves its cookie."""
        return self.path.parent / self.file.node.cookie_file

    @property
    def exchange_dir(self) -> Path:
        """Where PSBTs go out to be signed and come back."""
        wanted = None if self.file.sweep is None else self.file.sweep.exchange_dir
        return self.state_dir / "exchange" if wanted is None else self.path.parent / wanted


def load_treasury(path: Path) -> TreasuryConfig:
    """Read and check `path`. Raises ConfigError with every problem; nothing is half-loaded."""
    path = path.absolute()
    table = read_table(path)
    if found := [_private(path, key) for key in private_keys(table)]:
        raise ConfigError(found)
    config = TreasuryConfig(path=path, file=fill(path, table, TreasuryFile))
    if problems := list(_crossed(config)):
        raise ConfigError(problems)
    return config


def _private(path: Path, key: str) -> Problem:
    mend = (
        "holds a PRIVATE KEY; take the file off this machine, treat the key as known to others, "
        "and write what is public (xpub) here"
    )
    return Problem(file=path, key=key, value="", mend=mend)


def _crossed(config: TreasuryConfig) -> Iterator[Problem]:
    for key, value, mend in _pools(config.file):
        yield Problem(file=config.path, key=key, value=shown(value), mend=mend)


def _pools(file: TreasuryFile) -> Iterator[tuple[str, object, str]]:
    for name, count in Counter(pool.id for pool in file.pool).items():
        if count > 1:
            yield "pool.id", name, f"is used {count} times; each may be used once"
    places = [(address, pool.url) for pool in file.pool for address in pool.addresses]
    for (address, _), count in Counter(places).items():
        if count > 1:
            yield "pool.addresses", address, f"is named {count} times for the same pool"
    for address, count in Counter(address for address, _ in set(places)).items():
        if count > 1:
            mend = "is used by several pools; give each its own, or nobody knows who paid"
            yield "pool.addresses", address, mend
