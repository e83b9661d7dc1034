"""A wave to firmwares that want more than one request: a lock is taken, used and given back."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from drivers.contract.commands import Applied, Outcome, Refused, Unconfirmed
from drivers.contract.frames import Follow, SleepFrame
from drivers.transport.wave import WAVE, send_wave
from tests.drivers.wave_peers import frame_to, hang, peer, yes

LOCK, ACT, UNLOCK = b"lock", b"act", b"unlock"


def judge(frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | Follow | None:
    """Two steps count, the third tidies up; whatever comes then must change nothing."""
    if not received:
        return Unconfirmed(detail="closed") if is_closed else None
    if frame.request == LOCK:
        return Follow(frame=replace(frame, request=ACT, goes_on=False))
    assert frame.request == ACT or received == b"OK\0"
    return Follow(frame=replace(frame, request=UNLOCK), done=Applied())


def locked(port: int, count: int) -> list[SleepFrame]:
    return [frame_to(port, number, request=LOCK, goes_on=True) for number in range(count)]


def sent(
    frames: Iterator[SleepFrame] | list[SleepFrame],
    *,
    open_max: int = 1_000,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}

    def answered(frame: SleepFrame, outcome: Outcome) -> None:
        assert frame.miner_id not in found, "one outcome a miner"
        found[frame.miner_id] = outcome

    send_wave(frames, {"any": judge}, answered, open_max=open_max, stopped=stopped)
    return found


def test_each_miner_is_locked_commanded_and_unlocked():
    with peer(yes) as there:
        found = sent(locked(there.port, 2 * WAVE + 3))
        assert set(found.values()) == {Applied()}
        count = 2 * WAVE + 3
        assert [there.received.count(step) for step in (LOCK, ACT, UNLOCK)] == [count] * 3


def test_a_lock_is_used_at_once_and_given_back_when_all_have_their_command():
    with peer(yes) as there:
        used = threading.Event()

        def frames() -> Iterator[SleepFrame]:
            yield from locked(there.port, WAVE)
            until_s = time.monotonic() + 20.0
            rest = iter(range(WAVE, 40 * WAVE))
            while ACT not in there.received and time.monotonic() < until_s:
                yield frame_to(there.port, next(rest), request=ACT)
                time.sleep(0.002)
            if ACT in there.received:
                used.set()
            assert UNLOCK not in there.received

        found = sent(frames())
        assert used.is_set(), "before the last first request had left"
        assert set(found.values()) == {Applied()}


def test_a_lock_that_comes_in_pieces_is_waited_for_and_used_at_once():
    def whole(frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | Follow | None:
        return judge(frame, received, is_closed) if received.endswith(b"\0") else None

    def drip(link: socket.socket) -> None:
        for piece in (b"O", b"K", b"\0"):
            time.sleep(0.05)
            link.sendall(piece)

    found: dict[str, Outcome] = {}
    with peer(drip) as there:
        begun_s = time.monotonic()
        frames = [replace(f, answer_deadline_s=20.0) for f in locked(there.port, 3)]
        send_wave(
            frames,
            {"any": whole},
            lambda frame, outcome: found.setdefault(frame.miner_id, outcome),
            open_max=1_000,
        )
        assert set(found.values()) == {Applied()}
        assert time.monotonic() - begun_s < 15.0, "not at its deadline"
        assert there.received.count(UNLOCK) == 3


def test_few_sockets_are_enough_for_scripts():
    with peer(yes) as there:
        found = sent(locked(there.port, 200), open_max=WAVE)
        assert len(found) == 200
        refused = sum(isinstance(outcome, Refused) for outcome in found.values())
        assert there.received.count(ACT) == 200 - refused, "who is given up is not commanded"
        assert refused < 200 - WAVE


def test_one_that_hangs_in_the_middle_is_not_known_and_keeps_nobody():
    turn = {"locks": 0}

    def serve(link: socket.socket) -> None:
        turn["locks"] += 1
        if turn["locks"] > 1:
            hang(link)
        yes(link)

    with peer(serve) as there:
        (outcome,) = sent(
            [replace(f, answer_deadline_s=1.0) for f in locked(there.port, 1)]
        ).values()
        assert isinstance(outcome, Unconfirmed)
        assert there.received == [LOCK, ACT]


def test_one_that_hangs_with_the_lock_has_certainly_not_slept():
    with peer(hang) as there:
        (outcome,) = sent(
            [replace(f, answer_deadline_s=0.5) for f in locked(there.port, 1)]
        ).values()
        assert isinstance(outcome, Refused)
        assert there.received == [LOCK]


def test_a_process_that_ends_in_the_middle_says_so_once_each():
    with peer(yes) as there:
        looks = iter(range(100_000))
        found = sent(locked(there.port, 5 * WAVE), stopped=lambda: next(looks) >= 3)
        assert len(found) == 5 * WAVE
        assert any(isinstance(outcome, Refused | Unconfirmed) for outcome in found.values())
