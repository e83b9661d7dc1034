"""Where the demonstration listens, all on loopback; each port can be moved."""

from dataclasses import dataclass, fields, replace
from typing import Self

import typer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The default ports. Meters (127.20.0.x:5020) and miners' own (4028, 50051) are not moved."""

    console: int = 8440
    health: int = 8441
    treasury_health: int = 8442
    guard_health: int = 8443
    broker: int = 18830
    http: int = 8081
    database: int = 18086
    influxd: int = 18088
    influxd_rpc: int = 18089
    chain: int = 18443
    pool: int = 18090

    @classmethod
    def moved(cls, wishes: list[str]) -> Self:
        """The defaults with `NAME=PORT` applied. Raises typer.BadParameter with what is wrong."""
        known = {field.name.replace("_", "-"): field.name for field in fields(cls)}
        ports = cls()
        for wish in wishes:
            name, _, number = wish.partition("=")
            if name not in known or not number.isdecimal() or not 1024 <= int(number) <= 65_535:
                raise typer.BadParameter(
                    f"{wish!r} is not NAME=PORT with a port from 1024 and a name of "
                    + ", ".join(known)
                )
            ports = replace(ports, **{known[name]: int(number)})
        values = [getattr(ports, field.name) for field in fields(ports)]
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            raise typer.BadParameter(f"port {min(twice)} is used twice; each service needs its own")
        return ports
