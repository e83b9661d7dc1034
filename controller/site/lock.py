"""One process a site: a lock that the system itself takes back when its holder dies."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from controller.channel.folder import PrivateFolderError, ensure_private

_PID_BYTES_MAX = 32


class SiteLockError(Exception):
    """The site cannot be locked. The message names the holder when there is one."""


class SiteLock:
    """The right to write in a site's `state_dir`, held while the context is entered.

    flock(2) on `<state_dir>/run/lock`, which holds the pid for people to read. The file stays: to
    remove it would let two processes lock two files of the same name.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._descriptor: int | None = None

    @property
    def path(self) -> Path:
        """Where the lock stands."""
        return self._state_dir / "run" / "lock"

    def __enter__(self) -> Self:
        """Take the lock, at once or not at all. Makes the folders. Raises SiteLockError."""
        try:
            ensure_private(self._state_dir)
            ensure_private(self.path.parent)
            # Not inherited: a child that outlives us must not hold our site.
            descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except PrivateFolderError as error:
            raise SiteLockError(str(error)) from None
        except OSError as error:
            raise SiteLockError(f"{self.path}: cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, _PID_BYTES_MAX, 0).strip()
            os.close(descriptor)
            named = f"process {int(holder)}" if holder.isdigit() else "another process"
            raise SiteLockError(
                f"{self.path}: {named} runs this site already; end it first, or give this site a "
                "`site.state_dir` of its own"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise SiteLockError(f"{self.path}: cannot be locked: {error.strerror}") from None
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
