"""What the tests of LuxOS share: replies as it makes them, and the profiles of one miner."""

import json
from typing import Any

from drivers.miners.luxos.codec import Profile

OK = [{"STATUS": "S", "Code": 1, "Msg": "done"}]
NO = [{"STATUS": "E", "Code": 402, "Msg": "no"}]

PROFILES = tuple(
    Profile(name=name, step=step, power_w=power_w)
    for name, step, power_w in [
        ("490MHz", -4, 2192.0),
        ("540MHz", -2, 2485.0),
        ("default", 0, 2794.0),
        ("640MHz", 2, 3119.0),
        ("mine", None, 2600.0),
    ]
)


def body_of(**parts: Any) -> bytes:
    """A joined reply: each part is the rows under its command's name, or a whole reply."""
    replies = {
        name: [part if isinstance(part, dict) else {"STATUS": OK, name.upper(): part}]
        for name, part in parts.items()
    }
    return json.dumps({**replies, "id": 1}).encode()
