"""Secrets are files of their owner alone: mode 0600, ours, regular, small."""

import os
import stat
from pathlib import Path

SECRET_BYTES_MAX = 16_384


class SecretFileError(Exception):
    """A secret cannot be used. The message names the file and how to mend it."""


def read_secret(path: Path) -> bytes:
    """Return the whole file. Raises SecretFileError when it is missing, too open or not ours.

    The checks are made on the opened file, so that it cannot be exchanged between check and read.
    """
    try:
        # O_NONBLOCK: a FIFO in its place must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        _check(path, os.fstat(descriptor))
        data = os.read(descriptor, SECRET_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > SECRET_BYTES_MAX:
        raise SecretFileError(
            f"{path}: larger than {SECRET_BYTES_MAX} bytes; is it the right file?"
        )
    return data


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretFileError(f"{path}: is not a regular file")
    if found.st_uid != os.geteuid():
        raise SecretFileError(
            f"{path}: belongs to user {found.st_uid}, not to us ({os.geteuid()}); "
            f"mend: chown it to the user that runs this program"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SecretFileError(
            f"{path}: mode {mode:04o} lets others read it; mend: chmod 600 {path}"
        )


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file with mode 0600. Raises SecretFileError when it exists or cannot be made."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise SecretFileError(
            f"{path}: exists and is not overwritten; move it away or choose another name"
        ) from None
    except OSError as error:
        raise SecretFileError(f"{path}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
