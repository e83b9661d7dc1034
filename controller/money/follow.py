"""What a block means for us: which entries to book, which coins came and which went.

A transaction's residue (what our coins that it spends hold more than its outputs to us) is booked
by what the transaction is: one of our sweeps pays a fee; one that spends a collection coin and is
none of ours is foreign, and somebody else has the key; the custodians spend the reserve; all else
is a receipt. A sweep that a lost database had made is known again by what it does.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from controller.money.facts import Block, Coin, OutPoint, Place, Tx, Wallet
from controller.money.ledger import ACCOUNT_OF, Account, Entry, EntryKind, Posting

_RESIDUE: Mapping[EntryKind, Account] = {
    EntryKind.RECEIPT: Account.POOL,
    EntryKind.SWEEP: Account.FEE,
    EntryKind.FOREIGN: Account.FOREIGN,
    EntryKind.CUSTODIANS: Account.CUSTODIANS,
}


LOST_SWEEP_FEE_PERCENT_MAX = 5
"""A thief who mines could take all as the fee; so dear a sweep must be known to be ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one block does to the book and to our coins. `spent`: coin → transaction.

    A coin that came and went within the block stands in both.
    """

    entries: tuple[Entry, ...]
    created: tuple[Coin, ...]
    spent: Mapping[OutPoint, str]


def read_block(
    block: Block,
    watched: Mapping[bytes, Place],
    coins: Mapping[OutPoint, Coin],
    sweeps: AbstractSet[str],
) -> Reading:
    """Read a block. `coins`: those of ours unspent before it; `sweeps`: txids of our attempts."""
    known = dict(coins)
    entries: list[Entry] = []
    created: list[Coin] = []
    spent: dict[OutPoint, str] = {}
    for tx in block.txs:
        gone = [known[point] for point in tx.spends if point in known]
        came = list(_received(tx, block, watched))
        if not gone and not came:
            continue
        for coin in gone:
            del known[coin.outpoint]
            spent[coin.outpoint] = tx.txid
        known |= {coin.outpoint: coin for coin in came}
        created += came
        kind = _kind(tx, gone, came, sweeps)
        entries.append(_entry(kind, tx, block, gone, came))
    return Reading(entries=tuple(entries), created=tuple(created), spent=spent)


def _received(tx: Tx, block: Block, watched: Mapping[bytes, Place]) -> Iterator[Coin]:
    for vout, output in enumerate(tx.outputs):
        place = watched.get(output.script)
        if place is not None and output.sat > 0:
            yield Coin(
                outpoint=OutPoint(tx.txid, vout),
                place=place,
                script=output.script,
                sat=output.sat,
                coinbase=tx.coinbase,
                height=block.height,
                block_hash=block.hash,
            )


def _kind(tx: Tx, gone: list[Coin], came: list[Coin], sweeps: AbstractSet[str]) -> EntryKind:
    if tx.txid in sweeps or _is_lost_sweep(tx, gone, came):
        return EntryKind.SWEEP
    if any(coin.place.wallet is Wallet.COLLECTION for coin in gone):
        return EntryKind.FOREIGN
    return EntryKind.CUSTODIANS if gone else EntryKind.RECEIPT


def _is_lost_sweep(tx: Tx, gone: list[Coin], came: list[Coin]) -> bool:
    """Whether it does what our sweeps do and nothing else: all that it spends is collected coins,
    all that it pays arrives at the reserve, and its fee is small. No theft looks like that.
    """
    if not gone or len(gone) != len(tx.spends):
        return False
    reserved = {coin.outpoint.vout for coin in came if _is_receiving_reserve(coin.place)}
    paying = {vout for vout, output in enumerate(tx.outputs) if output.sat}
    spent_sat = sum(coin.sat for coin in gone)
    fee_sat = spent_sat - sum(output.sat for output in tx.outputs)
    return (
        all(coin.place.wallet is Wallet.COLLECTION for coin in gone)
        and paying == reserved
        and fee_sat * 100 <= spent_sat * LOST_SWEEP_FEE_PERCENT_MAX
    )


def _is_receiving_reserve(place: Place) -> bool:
    return place.wallet is Wallet.RESERVE and place.branch == 0


def _entry(kind: EntryKind, tx: Tx, block: Block, gone: list[Coin], came: list[Coin]) -> Entry:
    lines = [
        *(_line(coin, -coin.sat) for coin in gone),
        *(_line(coin, coin.sat) for coin in came),
    ]
    residue_sat = -sum(line.amount_sat for line in lines)
    if residue_sat:
        lines.append(Posting(account=_RESIDUE[kind], amount_sat=residue_sat))
    return Entry(
        kind=kind,
        txid=tx.txid,
        block_hash=block.hash,
        height=block.height,
        at=block.at,
        postings=tuple(lines),
    )


def _line(coin: Coin, amount_sat: int) -> Posting:
    account = ACCOUNT_OF[coin.place.wallet]
    return Posting(account=account, amount_sat=amount_sat, outpoint=coin.outpoint)
