"""The inventory of miners as CSV, in and out. One row a miner; nothing of a bad file is taken.

Columns: miner_id, host, firmware, make, model, feeder, rack, tier, ports. `rack` may be empty;
`tier` defaults to 1 (0 is protected, larger is curtailed earlier); `ports` overrides a driver's
ports, e.g. `http=8081 rpc=14028`.
"""

import csv
import io
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from controller.config.problems import ConfigError, Problem, shown

COLUMNS = ("miner_id", "host", "firmware", "make", "model", "feeder", "rack", "tier", "ports")
_REQUIRED = ("miner_id", "host", "firmware", "model", "feeder")
_ROWS_MAX = 100_000
_CELL_MAX = 200
_TIER_MAX = 9
_PROBLEMS_MAX = 100
_HOST = re.compile(r"[A-Za-z0-9:._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryRow:
    """One miner as people list it."""

    miner_id: str
    host: str
    firmware: str
    make: str
    model: str
    feeder: str
    rack: str = ""
    tier: int = 1
    ports: dict[str, int] = field(default_factory=dict)


def read_csv(text: str, path: Path, firmwares: Container[str]) -> list[InventoryRow]:
    """Parse `text` (the content of `path`). Raises ConfigError with every problem by line, at
    most 100.
    """
    # Spreadsheets begin a UTF-8 file with a mark that is no part of the first column's name.
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    problems: list[Problem] = []
    rows: list[InventoryRow] = []
    seen: dict[str, int] = {}
    hosts: dict[tuple[str, str], int] = {}
    try:
        header = tuple(reader.fieldnames or ())
        problems += _header(header, path)
        if not problems:
            for cells in reader:
                line = reader.line_num
                found = list(_row_problems(cells, line, path, firmwares))
                if not found:
                    row = _row(cells)
                    found = [*_twice(row, line, path, seen, hosts)]
                    rows.append(row)
                problems += found
                if len(rows) > _ROWS_MAX or len(problems) >= _PROBLEMS_MAX:
                    break
    except csv.Error as error:
        # line_num is where the last whole row ended: a forgotten quote swallows many lines.
        problems.append(_at(path, reader.line_num + 1, "", "", f"not CSV: {error}"))
    if len(rows) > _ROWS_MAX:
        problems.append(_at(path, _ROWS_MAX, "", "", f"more than {_ROWS_MAX} miners"))
    if problems:
        raise ConfigError(problems[:_PROBLEMS_MAX])
    return rows


def write_csv(rows: Iterable[InventoryRow]) -> str:
    """The same form that `read_csv` takes, with a header and CRLF as RFC 4180 wants."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        ports = " ".join(f"{name}={port}" for name, port in sorted(row.ports.items()))
        writer.writerow([getattr(row, f.name) if f.name != "ports" else ports for f in fields(row)])
    return out.getvalue()


def _at(path: Path, line: int, column: str, value: str, mend: str) -> Problem:
    where = f"line {line}" + (f", {column}" if column else "")
    return Problem(file=path, key=where, value=shown(value) if value else "", mend=mend)


def _header(header: tuple[str, ...], path: Path) -> list[Problem]:
    missing = [name for name in _REQUIRED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    twice = sorted({name for name in header if header.count(name) > 1})
    problems = []
    if twice:
        problems.append(_at(path, 1, "", ", ".join(twice), "columns stand in the header twice"))
    if missing:
        problems.append(_at(path, 1, "", "", f"columns are missing: {', '.join(missing)}"))
    if unknown:
        known = ", ".join(COLUMNS)
        problems.append(
            _at(
                path,
                1,
                "",
                ", ".join(unknown)[:_CELL_MAX],
                f"unknown columns; {known} are known, and commas part them",
            )
        )
    return problems


def _row_problems(
    cells: dict[str, str], line: int, path: Path, firmwares: Container[str]
) -> Iterable[Problem]:
    if None in cells or None in cells.values():
        yield _at(path, line, "", "", "the row does not have as many cells as the header")
        return
    for column, value in cells.items():
        if len(value) > _CELL_MAX:
            yield _at(path, line, column, value, f"longer than {_CELL_MAX} characters")
        elif not value.isprintable():
            yield _at(path, line, column, value, "has a character that cannot be printed")
    for column in _REQUIRED:
        if not cells[column].strip():
            yield _at(path, line, column, "", "is empty; every miner needs it")
    host = cells["host"].strip()
    if host and not _HOST.fullmatch(host):
        yield _at(path, line, "host", host, "write an IP address or a host name, nothing else")
    firmware = cells["firmware"].strip()
    if firmware and firmware not in firmwares:
        yield _at(
            path,
            line,
            "firmware",
            firmware,
            "no driver has this name; see `naryn inventory firmwares`",
        )
    tier = cells.get("tier", "").strip() or "1"
    if not _is_number(tier, _TIER_MAX):
        yield _at(path, line, "tier", tier, f"must be a whole number from 0 to {_TIER_MAX}")
    if _ports(cells.get("ports", "")) is None:
        yield _at(path, line, "ports", cells["ports"], "write name=number, e.g. http=8081 rpc=4028")


def _ports(text: str) -> dict[str, int] | None:
    ports: dict[str, int] = {}
    for part in text.split():
        name, _, number = part.partition("=")
        if not name.isalnum() or name in ports or not _is_number(number, 65_535, least=1):
            return None
        ports[name] = int(number)
    return ports


def _is_number(text: str, most: int, *, least: int = 0) -> bool:
    """Plain ASCII digits, few enough for int() to take them at all."""
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    return digits and least <= int(text) <= most


def _row(cells: dict[str, str]) -> InventoryRow:
    text = {name: cells.get(name, "").strip() for name in COLUMNS}
    return InventoryRow(
        miner_id=text["miner_id"],
        host=text["host"],
        firmware=text["firmware"],
        make=text["make"],
        model=text["model"],
        feeder=text["feeder"],
        rack=text["rack"],
        tier=int(text["tier"] or "1"),
        ports=_ports(text["ports"]) or {},
    )


def _twice(
    row: InventoryRow,
    line: int,
    path: Path,
    seen: dict[str, int],
    hosts: dict[tuple[str, str], int],
) -> Iterable[Problem]:
    if row.miner_id in seen:
        yield _at(path, line, "miner_id", row.miner_id, f"stands on line {seen[row.miner_id]} too")
    seen[row.miner_id] = line
    place = (row.host, str(sorted(row.ports.items())))
    if place in hosts:
        yield _at(path, line, "host", row.host, f"stands on line {hosts[place]} too")
    hosts[place] = line
