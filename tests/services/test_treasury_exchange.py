"""The exchange folder, whoever writes there: nothing is destroyed, nothing hangs."""

import base64
import os
import threading
from datetime import timedelta

import pytest

from controller.treasury.exchange import HALF_COPIED_S, Exchange, ExchangeError, Signed
from tests.services.treasury_ground import Clock

PSBT = base64.b64encode(b"psbt\xff" + b"x" * 100).decode()
UNSIGNED = bytes.fromhex("0200000001" + "11" * 32 + "00000000" + "00" + "fdffffff") + bytes.fromhex(
    "01" + "e803000000000000" + "00" + "00000000"
)
WHOLE = b"psbt\xff" + b"\x01\x00" + bytes([len(UNSIGNED)]) + UNSIGNED + b"\x00" * 3


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def exchange(tmp_path, clock):
    made = Exchange(tmp_path / "exchange", clock)
    made.offer("first", PSBT)
    return made


@pytest.fixture
def out(tmp_path, exchange):
    return tmp_path / "exchange" / "to-sign"


@pytest.fixture
def back(tmp_path, exchange):
    return tmp_path / "exchange" / "signed"


def test_what_is_offered_is_there_whole_and_alone(exchange, out):
    assert (out / "first.psbt").read_text("ascii") == PSBT
    before = (out / "first.psbt").stat().st_ino
    exchange.offer("first", PSBT)
    assert (out / "first.psbt").stat().st_ino == before, "the same again changes nothing"
    assert names(out) == ["first.psbt"]
    exchange.withdraw("first")
    exchange.withdraw("first")
    assert names(out) == []


@pytest.mark.parametrize("name", ["a.psbt", ".a.psbt.new"])
def test_a_link_in_the_way_destroys_nothing(exchange, out, tmp_path, name):
    precious = tmp_path / "treasury.db"
    precious.write_text("precious")
    (out / name).symlink_to(precious)
    exchange.offer("a", PSBT)
    assert precious.read_text() == "precious"
    assert not (out / "a.psbt").is_symlink()
    assert (out / "a.psbt").read_text("ascii") == PSBT


@pytest.mark.parametrize("name", ["a.psbt", ".a.psbt.new"])
def test_a_fifo_in_the_way_hangs_nobody(exchange, out, name):
    os.mkfifo(out / name)
    offering = threading.Thread(target=exchange.offer, args=("a", PSBT), daemon=True)
    offering.start()
    offering.join(10)
    assert not offering.is_alive()
    assert (out / "a.psbt").read_text("ascii") == PSBT


def test_something_huge_in_place_of_ours_is_not_read(exchange, out, monkeypatch):
    with (out / "first.psbt").open("wb") as file:
        file.truncate(600 * 1024 * 1024)
    with monkeypatch.context() as patched:
        patched.setattr("controller.treasury.exchange._read", None)
        exchange.offer("first", PSBT)
    assert (out / "first.psbt").read_text("ascii") == PSBT


def test_a_folder_in_place_of_ours_is_told(exchange, out):
    (out / "a.psbt").mkdir()
    with pytest.raises(ExchangeError, match="to-sign: cannot be used: Is a directory; mend"):
        exchange.offer("a", PSBT)
    assert names(out) == ["a.psbt", "first.psbt"]


def _offer_and_ask(exchange):
    exchange.offer("a", PSBT)
    exchange.answer("a")


@pytest.mark.parametrize("which", ["to-sign", "signed"])
def test_a_linked_folder_is_not_followed(tmp_path, clock, which):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange" / which).symlink_to(elsewhere)
    exchange = Exchange(tmp_path / "exchange", clock)
    with pytest.raises(ExchangeError, match=f"{which}: cannot be used"):
        _offer_and_ask(exchange)
    assert names(elsewhere) == []


@pytest.mark.parametrize(
    "written",
    [WHOLE, base64.b64encode(WHOLE), base64.encodebytes(WHOLE)],
    ids=["binary", "base64", "base64 in lines"],
)
def test_every_form_of_a_psbt_is_taken(exchange, back, written):
    (back / "first.psbt").write_bytes(written)
    assert exchange.answer("first") is None, "it may not stand still yet"
    assert exchange.answer("first") == Signed(base64.b64encode(WHOLE).decode())


@pytest.mark.parametrize("written", [WHOLE, base64.b64encode(WHOLE)], ids=["binary", "base64"])
def test_half_a_psbt_is_waited_for_and_then_judged(exchange, back, clock, written):
    half = written[: len(written) // 2]
    (back / "first.psbt").write_bytes(half)
    assert exchange.answer("first") is None
    for _ in range(3):
        with pytest.raises(ExchangeError, match=r"first\.psbt: .*still being copied"):
            exchange.answer("first")
    clock.ahead = timedelta(seconds=HALF_COPIED_S)
    assert isinstance(exchange.answer("first"), Signed)
    (back / "first.psbt").write_bytes(written)
    assert exchange.answer("first") is None
    assert exchange.answer("first") == Signed(base64.b64encode(WHOLE).decode())
