"""The folder between the treasury and the signer: requests in, one answer for each.

`inbox/NAME.psbt` is answered by `outbox/NAME.psbt` or `outbox/NAME.refused`. An answer appears
whole or not at all, and a request is done when its answer is there: so a restart takes up exactly
what has none.
"""

import contextlib
import os
import re
import stat
from pathlib import Path

from simulators.services.signer.request import REQUEST_BYTES_MAX
from simulators.services.signer.sign import Refused, Signed

REQUESTS_MAX = 1_000
"""How many open requests are looked at in one round."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.psbt")


def open_requests(inbox: Path, outbox: Path) -> list[str]:
    """Names of requests without an answer, in order. Raises OSError."""
    answered = {path.name for path in outbox.iterdir()}
    names = sorted(path.name for path in inbox.iterdir() if _NAME.fullmatch(path.name))
    waiting = [n for n in names if n not in answered and _refusal_name(n) not in answered]
    return waiting[:REQUESTS_MAX]


def read_request(inbox: Path, name: str) -> bytes:
    """Return the file, one byte more than allowed at most. Raises OSError when it is no file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(inbox / name, flags)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{inbox / name}: is not a regular file")
        return file.read(REQUEST_BYTES_MAX + 1)


def write_answer(outbox: Path, name: str, given: Signed | Refused) -> None:
    """Put the answer in the outbox, whole and on disk. Raises OSError."""
    if isinstance(given, Signed):
        target, data = outbox / name, given.text
    else:
        target, data = outbox / _refusal_name(name), given.sentence.encode() + b"\n"
    beside = outbox / f".{target.name}.{os.getpid()}"
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(outbox, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refusal_name(name: str) -> str:
    return f"{name.removesuffix('.psbt')}.refused"
