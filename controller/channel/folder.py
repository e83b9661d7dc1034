"""Folders that only our own user may enter, or his group too: state and sockets stand in them."""

import os
import stat
from pathlib import Path


class PrivateFolderError(Exception):
    """A folder cannot be made, or others can enter it. The message says how to mend it."""


def ensure_private(folder: Path) -> None:
    """Make `folder` with mode 0700, parents too. Raises PrivateFolderError.

    A folder that exists and is open to others is refused, not tightened: it may be one that
    others need, named by a slip in the configuration.
    """
    try:
        for missing in reversed([place for place in (folder, *folder.parents) if not _is(place)]):
            missing.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise PrivateFolderError(
            f"{folder}: cannot be made or entered: {error.strerror}; "
            "mend `site.state_dir` or the rights of the folders above"
        ) from None
    _check(folder, found, 0o700)


def check_shared(folder: Path) -> None:
    """Raise PrivateFolderError unless `folder` is there, ours, and of at most mode 0750.

    It is not made: whose group may enter is decided by who makes it.
    """
    try:
        found = folder.stat()
    except OSError as error:
        raise PrivateFolderError(
            f"{folder}: {error.strerror}; make it: install -d -m 0750 -o USER -g GROUP {folder}"
        ) from None
    _check(folder, found, 0o750)


def _check(folder: Path, found: os.stat_result, most: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise PrivateFolderError(f"{folder}: is not a folder; move it away")
    if found.st_uid != os.geteuid():
        raise PrivateFolderError(
            f"{folder}: belongs to user {found.st_uid}, not to us ({os.geteuid()}); "
            "run as that user, or chown it"
        )
    if stat.S_IMODE(found.st_mode) & ~most & 0o777:
        raise PrivateFolderError(
            f"{folder}: mode {stat.S_IMODE(found.st_mode):04o} lets others in; "
            f"mend: chmod {most:o} {folder}"
        )


def _is(place: Path) -> bool:
    """Whether something stands at `place`; a dangling link counts, and fails later, by name."""
    try:
        place.lstat()
    except FileNotFoundError:
        return False
    return True
