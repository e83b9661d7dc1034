"""What hashes earn, in exact integers: hashes / (D · 2^32) · subsidy, the pool's fee taken off.

Satoshis are credited whole; the fraction that is left over is carried, so that any number of small
credits comes to what one large credit would be.
"""

from dataclasses import dataclass
from fractions import Fraction

HASHES_PER_SHARE = 2**32
"""Hashes that a share of difficulty 1 stands for."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Fractions of a satoshi that were not credited yet."""

    net_sat: Fraction = Fraction(0)
    fee_sat: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Credit:
    """Whole satoshis: the miner's, and what the pool keeps."""

    net_sat: int
    fee_sat: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a pool agrees to pay. `difficulty` is the network's; `fee_permille` of the gross."""

    difficulty: Fraction
    subsidy_sat: int
    fee_permille: int

    def credit(self, hashes: int, carried: Carried) -> tuple[Credit, Carried]:
        """Turn hashes into satoshis; return them and what is carried on."""
        gross = Fraction(hashes * self.subsidy_sat) / (self.difficulty * HASHES_PER_SHARE)
        fee = gross * Fraction(self.fee_permille, 1000)
        net_sat, net_rest = divmod(gross - fee + carried.net_sat, 1)
        fee_sat, fee_rest = divmod(fee + carried.fee_sat, 1)
        return Credit(net_sat, fee_sat), Carried(net_rest, fee_rest)
