"""The stream of news: one message a second, the newest wins, and no client waits for another.

    Watch ──changed──► Board.run ──one rendering for all──► EventStream ──what changed──► browser

A client that reads slowly misses messages and holds nobody; what each was shown last is kept, and
only the pieces that differ are sent.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from controller.console.pages import Pieces

VIEWERS_MAX = 64
REST_S = 0.95
"""Between two messages: a site that ticks once a second is shown every tick, soon after it."""
PATIENCE_S = 0.55
"""How much longer a site is waited for; then its silence is the news."""
_RETRY_MS = 1000


class Board:
    """The newest rendering, made while anybody looks."""

    def __init__(self) -> None:
        self.viewers = 0
        self._changed = asyncio.Event()
        self._looked_at = asyncio.Event()
        self._hung = asyncio.Event()
        self._pieces: Pieces | None = None
        self._number = 0
        self._closed = False

    def changed(self) -> None:
        """Something new is known."""
        self._changed.set()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._hang(None)

    async def run(self, render: Callable[[], Pieces]) -> None:
        """Render for ever, while anybody looks. `render` gives the pieces as they are now."""
        while True:
            await self._looked_at.wait()
            self._changed.clear()
            self._hang(render())
            await asyncio.sleep(REST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._changed.wait()

    def _hang(self, pieces: Pieces | None) -> None:
        self._pieces = pieces
        self._number += 1
        hung, self._hung = self._hung, asyncio.Event()
        hung.set()

    async def news(self) -> AsyncIterator[Pieces]:
        """Every newest rendering from now on, older ones left out; ends when the board closes."""
        number = self._number
        while True:
            while number == self._number and not self._closed:
                await self._hung.wait()
            if self._closed or self._pieces is None:
                return
            number = self._number
            yield self._pieces

    @contextlib.contextmanager
    def viewer(self) -> Iterator[None]:
        """Somebody looks while the context is entered."""
        self.viewers += 1
        self._looked_at.set()
        try:
            yield
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._looked_at.clear()


class EventStream(StreamingResponse):
    """Server-sent events of a board: each piece under its own name, in one line."""

    def __init__(self, board: Board) -> None:
        # nginx holds a stream back otherwise.
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(_events(board), headers=headers, media_type="text/event-stream")
        self._board = board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client leaves; a client too many is turned away with 503."""
        if self._board.viewers >= VIEWERS_MAX:
            detail = f"{VIEWERS_MAX} pages are open already; close one, and this goes on by itself"
            refused = JSONResponse({"error": detail}, 503, {"Retry-After": "5"})
            await refused(scope, receive, send)
            return
        with self._board.viewer():
            await super().__call__(scope, receive, send)


async def _events(board: Board) -> AsyncIterator[str]:
    yield f"retry: {_RETRY_MS}\n\n"
    shown: dict[str, str] = {}
    async for pieces in board.news():
        changed = {name: text for name, text in pieces.items() if shown.get(name) != text}
        shown |= changed
        yield "".join(f"event: {name}\ndata: {text}\n\n" for name, text in changed.items())
