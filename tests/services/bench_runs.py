"""Runs a benchmark as a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path

NARYN = Path(sys.executable).with_name("naryn")


def bench(name, *words, timeout_s=280):
    """The object of `naryn bench NAME --json`."""
    ran = subprocess.run(
        [NARYN, "bench", name, "--json", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def ends_with_a_sentence_without_a_compiler(name, miners, empty):
    """`empty`: a folder without programs and without what was compiled before."""
    ran = subprocess.run(
        [NARYN, "bench", name, "--miners", str(miners)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(empty), "XDG_CACHE_HOME": str(empty)},
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"bench {name}: ")
    assert "apt install gcc" in ran.stderr
    assert "Traceback" not in ran.stderr
