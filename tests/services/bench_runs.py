"""Runs a benchmark as a user does."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_S, eventually

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


def children_of(pid):
    """Process ids of those that a process has started and that still run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child) for child in listed.read_text().split()} if listed.exists() else set()


def ended_in_the_middle(name, *words, children):
    """Start a benchmark, end it once it has started so many others; its exit status and those."""
    begun = subprocess.Popen(
        [NARYN, "bench", name, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: len(children_of(begun.pid)) >= children, "it starts them")
        started = children_of(begun.pid)
        begun.terminate()
        return begun.wait(PATIENCE_S), started
    finally:
        begun.kill()
        begun.wait()
