"""Amounts of money: whole satoshis, from the node's decimals and back, without a rounding.

No float comes in and none goes out; what is no exact amount of bitcoin is refused.
"""

from decimal import Decimal

COIN = 100_000_000
SAT_MAX = 21_000_000 * COIN
"""No more bitcoin than this can exist."""
_PLACES = 8


class NotAnAmount(ValueError):
    """A number that is no amount of bitcoin. Says what it was."""


def sat_from_btc(btc: object) -> int:
    """Satoshis of a node's amount in BTC, an int or Decimal. Raises NotAnAmount."""
    if isinstance(btc, bool) or not isinstance(btc, int | Decimal):
        raise NotAnAmount(f"{str(btc)[:40]!r} is a {type(btc).__name__}, not an amount in BTC")
    sat = Decimal(btc).scaleb(_PLACES) if Decimal(btc).is_finite() else None
    if sat is None or not 0 <= sat <= SAT_MAX or sat != int(sat):
        raise NotAnAmount(f"{str(btc)[:40]} BTC: an amount has at most 8 places, 0 to 21 million")
    return int(sat)


def btc_from_sat(sat: int) -> Decimal:
    """The same amount in BTC with eight places, for a call to the node."""
    return Decimal(sat).scaleb(-_PLACES)


def btc_text(sat: int) -> str:
    """An amount in BTC for people, eight places always; below zero with a sign."""
    whole, part = divmod(abs(sat), COIN)
    return f"{'-' if sat < 0 else ''}{whole}.{part:0{_PLACES}}"


def fee_for(vsize: int, feerate_sat_kvb: int) -> int:
    """The fee in satoshis of `vsize` virtual bytes at a rate in sat/kvB, rounded up."""
    return -(-vsize * feerate_sat_kvb // 1000)
