"""The wave of prepared commands against peers that behave and peers that do not."""

import errno
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Outcome,
    RefusalReason,
    Refused,
    Unconfirmed,
)
from drivers.contract.frames import SleepFrame
from drivers.transport import wave
from drivers.transport.wave import REPLY_BYTES_MAX, WAVE, send_wave
from tests.drivers.wave_peers import PATIENCE_S, Peer, frame_to, hang, peer, yes


def judge(_frame: SleepFrame, received: bytes, is_closed: bool) -> Outcome | None:
    """`OK` is a yes, anything that is closed without it is not known."""
    if received.startswith(b"OK"):
        return Applied()
    return Unconfirmed(detail="closed") if is_closed else None


def flood(link: socket.socket) -> None:
    for _ in range(160):
        link.sendall(b"x" * 65_536)


def hang_up(link: socket.socket) -> None:
    link.close()


def outcomes_of(frames, *, open_max=1_000, stopped=lambda: False):
    found: dict[str, Outcome] = {}

    def answered(frame: SleepFrame, outcome: Outcome) -> None:
        assert frame.miner_id not in found, "one outcome a frame"
        found[frame.miner_id] = outcome

    send_wave(frames, {"any": judge}, answered, open_max=open_max, stopped=stopped)
    return found


def test_every_frame_is_sent_once_and_has_its_outcome():
    with peer(yes) as there:
        frames = [frame_to(there.port, number) for number in range(3 * WAVE + 5)]
        found = outcomes_of(frames)
        assert list(found.values()) == [Applied()] * len(frames)
        assert there.received == [b"sleep"] * len(frames)


def test_an_empty_wave_is_over_at_once():
    assert outcomes_of([]) == {}


def after_answers(there: Peer, frames: list[SleepFrame], pause_s: float = 0.0):
    """The frames, but after the first wave only once the peer has answered all of it."""
    yield from frames[:WAVE]
    until_s = time.monotonic() + PATIENCE_S
    while len(there.served) < WAVE and time.monotonic() < until_s:
        time.sleep(0.01)
    time.sleep(pause_s)
    yield from frames[WAVE:]


def test_no_answer_is_looked_at_before_the_last_command_has_left():
    with peer(yes) as there:
        frames = [frame_to(there.port, number) for number in range(WAVE + 5)]
        all_begun, late = threading.Event(), []

        def begun():
            yield from after_answers(there, frames)
            all_begun.set()

        def answered(frame: SleepFrame, _outcome: Outcome) -> None:
            assert all_begun.is_set()
            late.append(frame.miner_id)

        send_wave(begun(), {"any": judge}, answered, open_max=1_000)
        assert len(late) == len(frames)


def test_when_sockets_run_short_answers_that_lie_there_make_room():
    with peer(yes) as there:
        frames = [frame_to(there.port, number) for number in range(WAVE + 5)]
        found = outcomes_of(after_answers(there, frames), open_max=WAVE)
        assert list(found.values()) == [Applied()] * len(frames)


def test_an_answer_that_came_in_time_counts_however_late_it_is_looked_at():
    with peer(yes) as there:
        frames = [frame_to(there.port, number, answer_deadline_s=2.0) for number in range(WAVE)]
        frames += [frame_to(there.port, WAVE)]
        found = outcomes_of(after_answers(there, frames, pause_s=2.1))
        assert set(found.values()) == {Applied()}


def test_those_that_hang_cost_nobody_their_turn():
    with peer(yes) as well, peer(hang) as ill:
        # The first two waves hang whole: a slot held while waiting would stop everything.
        frames = [frame_to(ill.port, n, answer_deadline_s=3.0) for n in range(2 * WAVE)]
        frames += [frame_to(well.port, n) for n in range(2 * WAVE, 3 * WAVE)]
        order: list[str] = []
        send_wave(
            frames, {"any": judge}, lambda frame, _: order.append(frame.miner_id), open_max=1_000
        )
        answered_first = set(order[:WAVE])
        assert answered_first == {f"m{n}" for n in range(2 * WAVE, 3 * WAVE)}
        assert len(ill.received) == 2 * WAVE, "they have their command all the same"


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (flood, f"sent; the answer is larger than {REPLY_BYTES_MAX} bytes"),
        (hang_up, "closed"),
    ],
)
def test_a_senseless_answer_is_not_known(serve, said):
    with peer(serve) as ill, peer(yes) as well:
        found = outcomes_of([frame_to(ill.port, 0), frame_to(well.port, 1)])
        assert found == {"m0": Unconfirmed(detail=said), "m1": Applied()}


def test_a_peer_that_drips_is_looked_at_a_bounded_number_of_times():
    looks = []

    def counted(_frame, received, is_closed):
        looks.append(len(received))
        return Unconfirmed(detail="closed") if is_closed else None

    def drip(link):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(300):
            link.sendall(b"}")
            time.sleep(0.001)
        link.close()

    with peer(drip) as there:
        found = []
        send_wave(
            [frame_to(there.port)],
            {"any": counted},
            lambda _, outcome: found.append(outcome),
            open_max=10,
        )
    assert found == [Unconfirmed(detail="closed")]
    assert len(looks) <= 65
    assert looks[-1] == 300


def test_silence_is_not_known_and_a_closed_port_is_certain():
    with peer(hang) as ill:
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        frames = [frame_to(ill.port, 0, answer_deadline_s=0.3), frame_to(port, 1)]
        found = outcomes_of(frames)
        assert found["m0"] == Unconfirmed(detail="sent; no answer within 0.3 s")
        refused = found["m1"]
        assert isinstance(refused, Refused)
        assert refused.reason is RefusalReason.UNREACHABLE


def test_a_connection_that_never_stands_is_certain():
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(2):  # nobody accepts: the queue is full and further calls wait for ever
            link = stack.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", port))
        (refused,) = outcomes_of([frame_to(port, answer_deadline_s=0.3)]).values()
        assert refused == Refused(reason=RefusalReason.UNREACHABLE, detail="no answer within 0.3 s")


def test_a_frame_whose_time_is_over_is_not_sent():
    with peer(yes) as there:
        (refused,) = outcomes_of([frame_to(there.port, valid_until_s=0.0)]).values()
        assert isinstance(refused, Refused)
        assert refused.reason is RefusalReason.UNAUTHORIZED
        assert there.received == []


def test_with_few_sockets_the_oldest_answer_is_given_up_and_every_command_leaves():
    with peer(hang) as there:
        frames = [frame_to(there.port, n, answer_deadline_s=2.0) for n in range(3 * WAVE)]
        found = outcomes_of(frames, open_max=WAVE)
        given_up = Unconfirmed(detail="sent; too many connections to wait for its answer")
        assert len(found) == len(frames)
        assert list(found.values()).count(given_up) >= 2 * WAVE
        assert all(isinstance(outcome, Unconfirmed) for outcome in found.values())


def test_a_process_out_of_sockets_gives_up_answers_too(monkeypatch):
    real, left = wave._open_socket, iter([True] * WAVE + [False, True] * 2 * WAVE)

    def scarce(host):
        if not next(left):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(host)

    with peer(hang) as there:
        frames = [frame_to(there.port, n, answer_deadline_s=2.0) for n in range(2 * WAVE)]
        monkeypatch.setattr(wave, "_open_socket", scarce)
        found = outcomes_of(frames)
        assert len(found) == len(frames)
        assert all(isinstance(outcome, Unconfirmed) for outcome in found.values())


def test_without_any_socket_a_command_has_certainly_not_left(monkeypatch):
    def none(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    frames = [frame_to(1)]
    monkeypatch.setattr(wave, "_open_socket", none)
    (refused,) = outcomes_of(frames).values()
    assert isinstance(refused, Refused)
    assert "Too many open files" in refused.detail


def test_a_process_that_ends_says_what_left_and_what_did_not():
    with peer(hang) as there:
        turns = iter(range(100))
        frames = [frame_to(there.port, n) for n in range(3 * WAVE)]
        found = outcomes_of(frames, stopped=lambda: next(turns) == 2)
        unsent = [name for name, outcome in found.items() if isinstance(outcome, Refused)]
        assert len(found) == len(frames)
        assert set(unsent) >= {f"m{n}" for n in range(2 * WAVE, 3 * WAVE)}


def test_already_so_is_an_answer_too():
    with peer(yes) as there:
        found: list[Outcome] = []
        send_wave(
            [frame_to(there.port)],
            {"any": lambda *_: AlreadySo()},
            lambda _, outcome: found.append(outcome),
            open_max=10,
        )
        assert found == [AlreadySo()]
