"""Whose wallets a treasury has: an exchanged descriptor is refused, by file and by database."""

import re
from types import SimpleNamespace

import pytest

from controller.app.treasury import read_wallets
from controller.config.problems import ConfigError
from controller.config.treasury import load_treasury
from controller.money.facts import Wallet
from controller.treasury.database import DatabaseError
from tests.services.treasury_ground import Ground, keys

OURS = (
    "wsh(sortedmulti(2,[eadf3705/48h/1h/0h/2h]tpubDF7DrXSAfU3iVQPXCRHMCCgff6FsTMVypSUk8F5"
    "tEygJcuUEATyw1puG9LftHZ7b5VSWpnRYEiHtAUYs3Rr7bokhsLwtpKrHi6gU1Zny5Ut/<0;1>/*,[fde9c6"
    "33/48h/1h/0h/2h]tpubDFkoiWKzhmzpGJ7J1SXrduyyAhnA49Dxg3jm6oaVx7QhQA6QgtBXmncTFKsH6BBa"
    "rWqMfBDbEQEwwixksACxREKfxFmAnwouJdtHzqqAddr/<0;1>/*,[64c1184a/48h/1h/0h/2h]tpubDDx9w"
    "jSq1cr3moFuJSu1vq7XLbCeqpV7ssfU9996oKC4eHv2pVDsnXRHYWFUoDjr6aggesTY81UHP3F7ThtVY9BbF"
    "HksaVzkNSHcKLXZuVe/<0;1>/*))#e99lk08j"
)
THIEFS = (
    "wsh(sortedmulti(2,[43791600/48h/1h/0h/2h]tpubDF6g8KymG6Q1vbKB57z25FpvtuxTnrmhUfBzHvW"
    "fMuHbdchHHbLXb7os6dXKmqR3knMSgC8mmbGCsDkfZuV5rgqrafe1YogpNijEvLk4PjN/<0;1>/*,[ecb79c"
    "b1/48h/1h/0h/2h]tpubDEsbA1udG8nhN15SFQoL5D7rHCv83QQuekE7W2Bx1vPpzKmbopoNF9n1Si8CkMVh"
    "TgzpFQ7zAo8m7Pc4TNAefQpf8obtwZ24CsBbSnKXgHQ/<0;1>/*,[00000000/48h/1h/0h/2h]tpubDEWYD"
    "tAyPrDKrh9KoiDvg4qvJ1f8dug3UuigXQmsJLcn7u4AFkXGemNBacBFkN5MkpWnaUk5LR7kdedY1s1QztwyQ"
    "GRv9D1rJsQp8zAGcqH/<0;1>/*))#e99lk08j"
)
"""Made for the same eight characters behind the #, in fifteen seconds."""


@pytest.fixture
def ground(aged_simulated, tmp_path):
    made = SimpleNamespace(collection=keys().collection, reserve=OURS)
    opened = Ground(aged_simulated, tmp_path, keys_of=made)
    yield opened
    opened.close()


def exchange(ground, before, after):
    text = ground.path.read_text("utf-8")
    assert before in text
    ground.path.write_text(text.replace(before, after), "utf-8")


def test_a_thiefs_descriptor_with_our_checksum_is_refused_by_the_database(ground):
    assert OURS[-8:] == THIEFS[-8:]
    exchange(ground, OURS, THIEFS)
    with pytest.raises(DatabaseError, match="was begun with reserve"):
        ground.reopen()


def test_a_thiefs_descriptor_with_our_checksum_is_refused_by_the_pin(ground):
    pin = ground.wallets[Wallet.RESERVE].sha256
    exchange(ground, f'"{OURS}"', f'"{OURS}"\nsha256 = "{pin}"')
    ground.reopen()
    exchange(ground, OURS, THIEFS)
    with pytest.raises(ConfigError, match=f"pinned is {pin}; one of them was changed"):
        read_wallets(load_treasury(ground.path))


def test_a_database_that_knows_only_checksums_is_refused(ground):
    with ground.database.transaction() as db:
        db.exec_driver_sql("UPDATE meta SET value = 'e99lk08j' WHERE name = 'reserve'")
    with pytest.raises(DatabaseError, match=re.escape("was begun with reserve 'e99lk08j'")):
        ground.reopen()
