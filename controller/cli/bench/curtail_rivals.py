"""What users of other libraries wait for: pyasic and pyasic-rs on the same peer, each in a child.

A child is judged by what it prints and by what the peer has stamped, never by its exit status:
pyasic-rs aborts when it ends.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from controller.cli.bench.peer import KINDS, Peer

LIBRARIES = ("pyasic", "pyasic-rs")
_MODULE = {"pyasic": "pyasic", "pyasic-rs": "pyasic_rs"}
_SLOW = {("pyasic", "antminer-stock"): 500, ("pyasic-rs", "antminer-stock"): 500}
"""More of these take a minute or fail by the library's own deadlines."""
_CHILD_S_MAX = 120.0


def run_rivals(peer: Peer, firmwares: dict[str, int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Curtail miners by firmware with each library; figures, and why some are left out."""
    found: list[dict[str, Any]] = []
    left_out: list[str] = []
    for library in LIBRARIES:
        if find_spec(_MODULE[library]) is None:
            left_out.append(f"{library}: not installed; `pip install {library}` beside naryn")
            continue
        ports = (peer.rpc_port, peer.http_port)
        if library == "pyasic-rs":
            refused = peer.usual_ports()
            if refused is not None:
                left_out.append(f"{library}: knows no ports but 4028 and 80; {refused}")
                continue
        for firmware, count in firmwares.items():
            miners = min(count, _SLOW.get((library, firmware), count))
            figures = _run(peer, library, firmware, miners, ports)
            if isinstance(figures, str):
                left_out.append(f"{library}, {firmware}: {figures}")
            else:
                found.append(figures)
    return found, left_out


def _run(
    peer: Peer, library: str, firmware: str, miners: int, ports: tuple[int, int]
) -> dict[str, Any] | str:
    peer.clear()
    words = [library, firmware, str(miners), *map(str, ports)]
    try:
        ran = subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-m", "controller.cli.bench.curtail_rival", *words],
            check=False,
            capture_output=True,
            timeout=_CHILD_S_MAX,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {_CHILD_S_MAX:g} s"
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        last = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return f"said nothing: {last[:200]}"
    stamped = peer.report()["by_firmware"][str(KINDS[firmware])]
    if not stamped["miners_acted"]:
        return f"commanded nobody; it found {said['found']} of {miners} miners"

    def ms(name: str) -> float:
        moment_ns: int = stamped[name]
        return round((moment_ns - int(said["go_ns"])) / 1e6, 1)

    return {
        "library": f"{library} {said['version']}",
        "firmware": firmware,
        "miners": miners,
        "commanded": stamped["miners_acted"],
        "first_ms": ms("first_ns"),
        "median_ms": ms("median_ns"),
        "last_ms": ms("last_ns"),
        "cpu_us_per_miner": round(said["cpu_us_per_miner"], 1),
    }
