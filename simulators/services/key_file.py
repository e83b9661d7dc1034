"""A secret key in a file of its owner alone: one short line, mode 0600, never overwritten.

No error says what stands in the file.
"""

import os
import stat
from pathlib import Path

KEY_BYTES_MAX = 512


class KeyFileError(Exception):
    """A key file cannot be used; says which, why, and how to mend it."""


def read_key(path: Path) -> str:
    """Return the one line. Raises KeyFileError when it is missing, too open or not ours."""
    try:
        # O_NONBLOCK: a FIFO in its place must not hang us.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise KeyFileError(f"{path}: is not a regular file of ours; give a file of this user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileError(f"{path}: others may read it; mend: chmod 600 {path}")
        data = os.read(handle, KEY_BYTES_MAX + 1)
    finally:
        os.close(handle)
    line = data.strip()
    if len(data) > KEY_BYTES_MAX or not line or not line.isascii() or len(line.split()) != 1:
        raise KeyFileError(f"{path}: is not one line with a key; is it the right file?")
    return line.decode("ascii")


def write_key(path: Path, line: str) -> None:
    """Write a new file with mode 0600. Raises KeyFileError when it exists or cannot be made."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path}: exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be made: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
