"""Waiting for what comes to pass by itself: for long, because a busy machine is slow."""

import asyncio
import time

PATIENCE_S = 60.0


def eventually(condition, what, within_s=PATIENCE_S):
    """Wait until `condition()` is true; return what it gave. Fails with `what`."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)
    return found


async def until(condition, what, within_s=PATIENCE_S):
    """Let the loop run until `condition()` is true; return what it gave. Fails with `what`."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.01)
    return found
