"""Processes of a test: each ended by its own pid, with what it said in a log of its own."""

import os
import signal
import subprocess
import time
from pathlib import Path


def descendants(pid):
    """Pids of every living child, grandchild and so on of a process."""
    found, waiting = [], [pid]
    while waiting:
        path = Path(f"/proc/{waiting.pop()}")
        try:
            tasks = list((path / "task").iterdir())
            children = [int(c) for t in tasks for c in (t / "children").read_text().split()]
        except OSError:
            continue
        found += children
        waiting += children
    return found


def alive(pid):
    """Whether a process runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Program:
    """One process; its words are in `<name>.log`."""

    def __init__(self, folder, name, command):
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
            )
        self.pid = self.process.pid

    def said(self):
        """Its whole log."""
        return self.log.read_text(errors="replace")

    def end(self, number=signal.SIGTERM, within_s=20.0):
        """Signal it and wait; returns (exit status, seconds). Kills what does not end in time."""
        begun_s = time.monotonic()
        if self.process.poll() is None:
            os.kill(self.pid, number)
        try:
            status = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {within_s:g} s") from None
        return status, time.monotonic() - begun_s
