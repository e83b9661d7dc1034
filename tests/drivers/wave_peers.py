"""Peers that a wave of prepared commands goes to, and frames for them."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.contract.frames import SleepFrame

PATIENCE_S = 30.0


class Peer:
    """A listener whose connections `serve` is called with, each in a thread of its own."""

    def __init__(self, serve) -> None:
        self.received: list[bytes] = []
        self.served: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port = self.listener.getsockname()[1]
        self._serve = serve
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            self._links.append(link)
            thread = threading.Thread(target=self._talk, args=(link,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, link: socket.socket) -> None:
        try:
            self.received.append(link.recv(65_536))
            self._serve(link)
            self.served.append(link)
        except OSError:
            pass

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self._links:
            link.close()


@contextmanager
def peer(serve) -> Iterator[Peer]:
    there = Peer(serve)
    try:
        yield there
    finally:
        there.close()


def yes(link: socket.socket) -> None:
    link.sendall(b"OK\0")
    link.close()


def hang(link: socket.socket) -> None:
    time.sleep(PATIENCE_S)


def frame_to(port: int, number: int = 0, **changes) -> SleepFrame:
    values = {
        "miner_id": f"m{number}",
        "firmware": "any",
        "host": "127.0.0.1",
        "port": port,
        "request": b"sleep",
        "valid_until_s": time.monotonic() + 600.0,
        "answer_deadline_s": PATIENCE_S,
    }
    return SleepFrame(**(values | changes))
