"""Sends prepared commands to thousands of miners in one linear wave.

    next 64 ─▶ connect ─▶ send at once ─▶ wait, holding nothing back ─▶ judged | deadline
       ▲                                  │
       └── begun while all others wait ◀──┘

A miner that hangs costs its own socket and nobody's turn. All at once would be worse for everybody:
every connection would be made before the first command left, and the load would fall in one step
instead of along a line. Answers lie in the kernel until the last command has left, unless sockets
run short: to understand one costs more than to send a command, and nobody waits for it. An answer
that brings the next request of its miner is looked at as it comes; what only tidies up goes last.
"""

import errno
import heapq
import select
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from drivers.contract.commands import Outcome, RefusalReason, Refused, Unconfirmed
from drivers.contract.frames import Follow, Judge, SleepFrame

WAVE = 64
"""Connections begun before answers are looked at; measured as the quickest batch and the most even
line.
"""

REPLY_BYTES_MAX = 65_536
"""An answer to one command has some hundred bytes; an HTTP answer with its headers under 2 KiB."""

_JUDGED_MAX = 64
"""Looks at one unfinished answer. Real ones come in a few segments; a peer that drips brackets
would make every byte cost a look at all before it, and stop the wave for everybody.
"""
_READ_BYTES = 16_384
_TURN_S_MAX = 0.05
_HEARD_MAX = 16
"""Answers looked at before commands have their turn again: some milliseconds."""
_TO_SEND = select.EPOLLOUT | select.EPOLLONESHOT
"""Whoever has sent its command is heard of by `answers` alone."""
_TO_GO_ON = select.EPOLLIN | select.EPOLLONESHOT
"""Its socket stays open when the answer has come: nothing more may be heard of it."""
_OUT_OF_SOCKETS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})

Answered = Callable[[SleepFrame, Outcome], None]


@dataclass(slots=True, eq=False)
class _Call:
    frame: SleepFrame
    link: socket.SocketType
    judge: Judge
    until_s: float
    unsent: bytes
    is_told: bool = False
    """Its miner has its outcome: this one tidies up."""
    connected: bool = False
    judged: int = 0
    received: bytearray = field(default_factory=bytearray)


def send_wave(
    frames: Iterable[SleepFrame],
    judges: Mapping[str, Judge],
    answered: Answered,
    *,
    open_max: int,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Send every frame once; return when each has its outcome. Blocks: run it in a thread.

    `judges` by firmware. At most `open_max` sockets are open; when more are needed, the one that
    has waited longest for an answer is let go as Unconfirmed, for the command itself has left. A
    frame whose time is over is not sent: Refused with UNAUTHORIZED. `stopped` is looked at between
    turns; what is still open then is Unconfirmed.
    """
    with select.epoll() as poller, select.epoll() as answers:
        _Wave(judges, answered, open_max, poller, answers).run(iter(frames), stopped)


class _Wave:
    def __init__(
        self,
        judges: Mapping[str, Judge],
        answered: Answered,
        open_max: int,
        poller: select.epoll,
        answers: select.epoll,
    ) -> None:
        """`poller` hears of whatever brings a command further, `answers` of what nobody waits for;
        the first hears of the second once all commands are begun.
        """
        self._judges = judges
        self._answered = answered
        self._open_max = open_max
        self._poller = poller
        self._answers = answers
        self._listens = False
        self._open: dict[int, _Call] = {}
        self._waiting: OrderedDict[int, _Call] = OrderedDict()
        self._unheard: list[_Call] = []
        """Sent, and not yet known to `answers`."""
        self._spent: list[socket.SocketType] = []
        """Done with and not yet closed: to close one takes as long as to send a command."""
        self._deadlines: list[tuple[float, int, _Call]] = []
        self._following: deque[SleepFrame] = deque()
        self._tidying: deque[SleepFrame] = deque()
        self._begun = 0

    def run(self, frames: Iterable[SleepFrame], stopped: Callable[[], bool]) -> None:
        left = iter(frames)
        more = True
        while more or self._open or self._following or self._tidying:
            if stopped():
                break
            more = self._begin_wave(left)
            if more:
                self._turn(0.0)
            else:
                self._listen()
                self._turn(0.0 if self._following or self._tidying else self._patience_s())
                self._hear(_HEARD_MAX)
                self._close_spent(_HEARD_MAX)
            self._expire()
        for call in list(self._open.values()):
            self._end(call, _unanswered(call, "this process ended before the answer"))
        self._close_spent(len(self._spent))
        for frame in (*self._following, *left):
            detail = "this process ended before it was sent"
            self._answered(frame, Refused(reason=RefusalReason.UNREACHABLE, detail=detail))

    def _begin_wave(self, left: Iterable[SleepFrame]) -> bool:
        """Begin up to `WAVE` calls, of those that go on first; whether there may be more."""
        follow = [self._following.popleft() for _ in range(min(WAVE, len(self._following)))]
        first = list(islice(left, WAVE - len(follow)))
        for frame in (*follow, *first):
            self._begin(frame)
        if len(follow) + len(first) == WAVE:
            return True
        for _ in range(min(WAVE, len(self._tidying))):
            self._begin(self._tidying.popleft(), is_told=True)
        return False

    def _begin(self, frame: SleepFrame, *, is_told: bool = False) -> None:
        if time.monotonic() >= frame.valid_until_s:
            detail = "the prepared command is too old to be sent"
            self._tell(frame, Refused(reason=RefusalReason.UNAUTHORIZED, detail=detail), is_told)
            return
        while len(self._open) + len(self._spent) >= self._open_max and self._may_make_room():
            self._make_room()
        try:
            link = self._socket(frame.host)
        except OSError as error:
            self._tell(frame, _unreachable(f"no socket: {error}"), is_told)
            return
        failure = link.connect_ex((frame.host, frame.port))
        if failure not in {0, errno.EINPROGRESS}:
            link.close()
            self._tell(frame, _unreachable(_said(failure)), is_told)
            return
        call = _Call(
            frame=frame,
            link=link,
            judge=self._judges[frame.firmware],
            until_s=time.monotonic() + frame.answer_deadline_s,
            unsent=frame.request,
            is_told=is_told,
        )
        self._begun += 1
        self._open[link.fileno()] = call
        heapq.heappush(self._deadlines, (call.until_s, self._begun, call))
        self._poller.register(link.fileno(), _TO_SEND)

    def _socket(self, host: str) -> socket.SocketType:
        while True:
            try:
                return _open_socket(host)
            except OSError as error:
                if error.errno not in _OUT_OF_SOCKETS or not self._may_make_room():
                    raise
                self._make_room()

    def _may_make_room(self) -> bool:
        return bool(self._spent or self._waiting)

    def _make_room(self) -> None:
        """Close what is done with, or take the answers that have come; when there is none, let go
        who has waited longest, and last of all one whose command is still to come.
        """
        if self._spent:
            self._close_spent(len(self._spent))
            return
        before = len(self._open)
        self._hear(4 * WAVE)
        self._turn(0.0)
        if len(self._open) < before:
            return
        going = (call for call in self._waiting.values() if not call.frame.goes_on)
        call = next(going, None)
        if call is None and not self._turn(_TURN_S_MAX):
            call = next(iter(self._waiting.values()))
        if call is not None:
            self._end(call, _unanswered(call, "too many connections to wait for its answer"))

    def _listen(self) -> None:
        if not self._listens:
            self._poller.register(self._answers.fileno(), select.EPOLLIN)
            self._listens = True

    def _hear(self, most: int) -> None:
        """Look at answers of those whose command has left."""
        for call in self._unheard:
            if self._is_open(call):
                self._answers.register(call.link.fileno(), select.EPOLLIN)
        self._unheard.clear()
        for handle, _ in self._answers.poll(0.0, maxevents=most):
            self._receive(self._open[handle])

    def _patience_s(self) -> float:
        if not self._deadlines:
            return 0.0
        return min(max(self._deadlines[0][0] - time.monotonic(), 0.0), _TURN_S_MAX)

    def _turn(self, patience_s: float) -> bool:
        """Send and receive what can be now; whether there was anything."""
        found = self._poller.poll(patience_s, maxevents=4 * WAVE)
        for handle, events in found:
            call = self._open.get(handle)
            if call is None:
                continue
            if call.unsent and not events & (select.EPOLLERR | select.EPOLLHUP):
                self._send(call)
            elif not call.connected:
                failure = call.link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._end(call, _unreachable(_said(failure)))
            else:
                self._receive(call)
                if self._is_open(call):
                    self._poller.modify(handle, _TO_GO_ON)  # not whole yet
        return bool(found)

    def _send(self, call: _Call) -> None:
        try:
            sent = call.link.send(call.unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._end(call, _lost(call, error))
            return
        call.connected = True
        call.unsent = call.unsent[sent:]
        if call.unsent:
            self._poller.modify(call.link.fileno(), _TO_SEND)
            return
        self._waiting[call.link.fileno()] = call
        if call.frame.goes_on:
            self._poller.modify(call.link.fileno(), _TO_GO_ON)
        else:
            self._unheard.append(call)

    def _receive(self, call: _Call) -> None:
        try:
            chunk = call.link.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(call, _lost(call, error))
            return
        call.received += chunk
        if len(call.received) > REPLY_BYTES_MAX:
            detail = f"sent; the answer is larger than {REPLY_BYTES_MAX} bytes"
            self._end(call, Unconfirmed(detail=detail))
            return
        call.judged += 1
        if chunk and call.judged > _JUDGED_MAX:
            return
        said = call.judge(call.frame, bytes(call.received), not chunk)
        if isinstance(said, Follow):
            self._follow(call, said)
        elif said is not None:
            self._end(call, said)

    def _follow(self, call: _Call, said: Follow) -> None:
        """Queue the next request of the same miner; nothing is begun in the middle of a turn, for
        a new socket may take the number of one that the turn still has news of.
        """
        self._forget(call)
        self._spent.append(call.link)
        if call.is_told:
            return
        if said.done is None:
            self._following.append(said.frame)
        else:
            self._answered(call.frame, said.done)
            self._tidying.append(said.frame)

    def _expire(self) -> None:
        now_s = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, _, call = heapq.heappop(self._deadlines)
            if self._is_open(call) and call.connected and not call.unsent:
                self._receive(call)  # it may have come while nobody looked
            if self._is_open(call):
                said = f"no answer within {call.frame.answer_deadline_s:g} s"
                self._end(call, _unanswered(call, said))

    def _is_open(self, call: _Call) -> bool:
        return self._open.get(call.link.fileno()) is call

    def _end(self, call: _Call, outcome: Outcome) -> None:
        self._close(call)
        self._tell(call.frame, outcome, call.is_told)

    def _close(self, call: _Call) -> None:
        self._forget(call)
        call.link.close()

    def _forget(self, call: _Call) -> None:
        handle = call.link.fileno()
        del self._open[handle]
        self._waiting.pop(handle, None)

    def _close_spent(self, most: int) -> None:
        for _ in range(min(most, len(self._spent))):
            self._spent.pop().close()

    def _tell(self, frame: SleepFrame, outcome: Outcome, is_told: bool) -> None:
        if not is_told:
            self._answered(frame, outcome)


def _open_socket(host: str) -> socket.SocketType:
    # The C type: the class around it costs as much again, and offers what is not used here.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def _unreachable(detail: str) -> Refused:
    return Refused(reason=RefusalReason.UNREACHABLE, detail=detail)


def _unanswered(call: _Call, said: str) -> Outcome:
    if call.connected and not call.frame.goes_on:
        return Unconfirmed(detail=f"sent; {said}")
    return _unreachable(said)  # the request that counts has not left


def _lost(call: _Call, error: OSError) -> Outcome:
    return _unanswered(call, f"connection lost: {error.strerror or error}")


def _said(failure: int) -> str:
    return errno.errorcode.get(failure, str(failure)) if failure else "the connection was refused"
