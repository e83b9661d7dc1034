"""The folder between us and the signer, who is another person on another machine.

    to-sign/<sweep>-<attempt>.psbt      we write it, whole or not at all
    signed/<sweep>-<attempt>.psbt       comes back signed
    signed/<sweep>-<attempt>.refused    comes back as a sentence

What comes back is hostile until it is proved right: only regular files of bounded size are read,
and only when they stayed as they are from one look to the next (people copy files slowly).
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

PSBT_BYTES_MAX = 8 * 1024 * 1024
REFUSAL_BYTES_MAX = 2_000


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


class Exchange:
    """One exchange folder; `folder` and both below it are made when they are missing."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "to-sign"
        self._back = folder / "signed"
        self._seen: dict[str, tuple[int, int, int]] = {}

    def offer(self, name: str, psbt: str) -> None:
        """Put a PSBT out to be signed; the same again changes nothing. Raises ExchangeError."""
        path = self._out / f"{name}.psbt"
        try:
            for folder in (self._out, self._back):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.is_file() and path.read_text("ascii", "replace") == psbt:
                return
            _write(path, psbt.encode("ascii"))
        except OSError as error:
            raise ExchangeError(
                f"{path}: cannot be written: {error.strerror}; mend `sweep.exchange_dir` or its "
                "rights"
            ) from None

    def withdraw(self, name: str) -> None:
        """Take a PSBT back that needs no signature any more."""
        try:
            (self._out / f"{name}.psbt").unlink(missing_ok=True)
        except OSError as error:
            raise ExchangeError(f"{self._out}: {error.strerror}; mend its rights") from None

    def answer(self, name: str) -> Signed | Refused | None:
        """What came back, once it stands still; None: nothing yet. Raises ExchangeError."""
        signed = self._read(self._back / f"{name}.psbt", PSBT_BYTES_MAX)
        if signed is not None:
            return Signed(signed.decode("ascii", "replace").strip())
        refused = self._read(self._back / f"{name}.refused", REFUSAL_BYTES_MAX)
        if refused is not None:
            text = refused.decode("utf-8", "replace")
            return Refused("".join(c if c.isprintable() else " " for c in text).strip()[:500])
        return None

    def _read(self, path: Path, bytes_max: int) -> bytes | None:
        try:
            # O_NONBLOCK: a FIFO in its place must not hang us.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            self._seen.pop(path.name, None)
            return None
        except OSError as error:
            raise ExchangeError(f"{path}: cannot be read: {error.strerror}; remove it") from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > bytes_max:
                raise ExchangeError(
                    f"{path}: is no file of at most {bytes_max} bytes; remove it, and look at what "
                    "put it there"
                )
            look = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._seen.get(path.name) != look:
                self._seen[path.name] = look
                return None
            return os.read(descriptor, bytes_max)
        finally:
            os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    """Write beside the place and move it there, durably."""
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
