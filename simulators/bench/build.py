"""Compiles the C programs of this folder on first use.

The result lies in the user's cache, outside the program, named by the SHA-256 of every source: a
changed source is compiled anew, and nothing is ever out of date.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
PROGRAMS = ("peer", "raw_poll", "raw_fanout")
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


class BuildError(Exception):
    """A program cannot be compiled; says why and how to mend it."""


def program(name: str) -> Path:
    """Where the compiled program is, once it is. Raises BuildError."""
    folder = _cache() / f"bench-{_digest()}"
    binary = folder / name
    if binary.exists():
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildError(
            "no C compiler: benchmarks compare with programs in C that are compiled on first use; "
            "install one (Debian: apt install gcc libc6-dev)"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / name
            command = [compiler, *_FLAGS, "-o", str(made), str(SOURCES / f"{name}.c")]
            ran = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
            if ran.returncode != 0:
                said = "\n".join(ran.stderr.splitlines()[:10])
                raise BuildError(f"{name}.c does not compile with {compiler}:\n{said}")
            made.replace(binary)  # whole or not at all, whoever else compiles it now
    except OSError as error:
        raise BuildError(
            f"cannot compile into {folder}: {error.strerror}; set XDG_CACHE_HOME to a folder that "
            "can be written"
        ) from error
    return binary


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "naryn"


def _digest() -> str:
    whole = hashlib.sha256(" ".join(_FLAGS).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        text = source.read_bytes()
        whole.update(f"\0{source.name} {len(text)}\0".encode() + text)
    return whole.hexdigest()[:16]
