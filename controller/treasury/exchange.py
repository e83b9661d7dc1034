"""The folder between us and the signer, who is another person on another machine.

    to-sign/<sweep>-<attempt>.psbt      we write it, whole or not at all
    signed/<sweep>-<attempt>.psbt       comes back signed, in base64 or binary
    signed/<sweep>-<attempt>.refused    comes back as a sentence

Whoever may write there is hostile until proved right: no link is followed, nothing that is there is
written to, and only regular files of bounded size are read, when they stayed as they are from one
look to the next (people copy files slowly).
"""

import base64
import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.clock import SiteClock
from controller.treasury.psbt_facts import UnreadableTransaction
from controller.treasury.psbt_parts import signatures_of

PSBT_BYTES_MAX = 8 * 1024 * 1024
OFFER_BYTES_MAX = PSBT_BYTES_MAX - 1024 * 1024
"""What goes out must come back with the signatures of a hundred coins."""
REFUSAL_BYTES_MAX = 2_000
HALF_COPIED_S = 60.0
"""So long may a file that is no PSBT be the beginning of one that is copied."""
_BINARY = b"psbt\xff"
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


class ExchangeError(Exception):
    """The folder cannot be used. Says which file and how to mend it."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A PSBT came back, in base64; nothing about it is known yet."""

    psbt: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The signer said no; `sentence` is his, made printable."""

    sentence: str


@dataclass(frozen=True, slots=True)
class _Look:
    """How a file was found; `since_s`: the monotonic instant since which it is so."""

    found: tuple[int, int, int]
    since_s: float


class Exchange:
    """One exchange folder; `folder` and both below it are made when they are missing."""

    def __init__(self, folder: Path, clock: SiteClock) -> None:
        self._out = folder / "to-sign"
        self._back = folder / "signed"
        self._clock = clock
        self._seen: dict[str, _Look] = {}

    def offer(self, name: str, psbt: str) -> None:
        """Put a PSBT out to be signed; the same again changes nothing. Raises ExchangeError."""
        data = psbt.encode("ascii")
        with _explained(self._out):
            for place in (self._out, self._back):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _opened(self._out) as folder:
                if _is_there(folder, f"{name}.psbt", data):
                    return
                _write(folder, f"{name}.psbt", data)

    def withdraw(self, name: str) -> None:
        """Take a PSBT back that needs no signature any more. Raises ExchangeError."""
        missing = contextlib.suppress(FileNotFoundError)
        with _explained(self._out), missing, _opened(self._out) as folder:
            os.unlink(f"{name}.psbt", dir_fd=folder)

    def answer(self, name: str) -> Signed | Refused | None:
        """What came back, once it stands still; None: nothing yet. Raises ExchangeError."""
        with _explained(self._back), _opened(self._back) as folder:
            signed = self._still(folder, f"{name}.psbt", PSBT_BYTES_MAX)
            if signed is not None:
                return self._signed(f"{name}.psbt", signed)
            refused = self._still(folder, f"{name}.refused", REFUSAL_BYTES_MAX)
            if refused is not None:
                text = refused.decode("utf-8", "replace")
                return Refused("".join(c if c.isprintable() else " " for c in text).strip()[:500])
            return None

    def _signed(self, file: str, data: bytes) -> Signed:
        """The PSBT in base64; what is none may still be on its way for a while."""
        text = base64.b64encode(data) if data.startswith(_BINARY) else b"".join(data.split())
        psbt = text.decode("ascii", "replace")
        try:
            signatures_of(psbt)
        except UnreadableTransaction as error:
            if self._clock.monotonic_s() - self._seen[file].since_s < HALF_COPIED_S:
                raise ExchangeError(
                    f"{self._back / file}: {error}; is it still being copied? Put it there whole"
                ) from None
        return Signed(psbt)

    def _still(self, folder: int, file: str, bytes_max: int) -> bytes | None:
        """A file's bytes, when it is as it was at the look before; None: not yet, or not there."""
        try:
            with _reading(folder, file, bytes_max) as (descriptor, found):
                look = (found.st_ino, found.st_size, found.st_mtime_ns)
                seen = self._seen.get(file)
                if seen is None or seen.found != look:
                    self._seen[file] = _Look(look, self._clock.monotonic_s())
                    return None
                return _read(descriptor, bytes_max)
        except FileNotFoundError:
            self._seen.pop(file, None)
            return None
        except OSError as error:
            raise ExchangeError(
                f"{self._back / file}: {error.strerror or error}; remove it, and look at what put "
                "it there"
            ) from None


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExchangeError(
            f"{folder}: cannot be used: {error.strerror or error}; mend `sweep.exchange_dir`, its "
            "rights, or what stands there"
        ) from None


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder itself, whatever its name comes to mean meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _reading(folder: int, file: str, bytes_max: int) -> Iterator[tuple[int, os.stat_result]]:
    """A small regular file, open. Raises OSError for everything else."""
    # O_NONBLOCK: a FIFO in its place must not hang us.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | _OPEN, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > bytes_max:
            raise OSError(f"is no file of at most {bytes_max} bytes")
        yield descriptor, found
    finally:
        os.close(descriptor)


def _read(descriptor: int, bytes_max: int) -> bytes:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(bytes_max)


def _is_there(folder: int, file: str, data: bytes) -> bool:
    try:
        with _reading(folder, file, len(data)) as (descriptor, found):
            return found.st_size == len(data) and _read(descriptor, len(data)) == data
    except OSError:  # whatever it is, it is not ours: it is replaced
        return False


def _write(folder: int, file: str, data: bytes) -> None:
    """Write beside the place, under a name that nobody foresees, and move it there, durably."""
    beside = f".{secrets.token_hex(16)}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o640, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(descriptor)
        os.replace(beside, file, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
        raise
    os.fsync(folder)
