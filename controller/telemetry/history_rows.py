"""The tables of `history.db`: rows of three levels, their means, and what is forgotten.

A row is one instant: every series' value as a float32, NaN for unknown, in the order of a layout.
"""

import json
import math
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

from controller.telemetry.store import Shape

_FOLDS_MAX = 120
"""Means made in one commit; after a long pause the rest follows with the next ones."""
_ROW_OVERHEAD = 24
"""What SQLite adds to a row: its key, header and place in a page."""
_DAY_S = 86_400
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Level:
    """One table: how far apart its rows are, how long they are kept, and their bytes at most."""

    table: str
    step_s: int
    keep_s: int
    bytes_max: int


SECOND = Level("second", 1, 2 * _DAY_S, _GIB)
MINUTE = Level("minute", 60, 400 * _DAY_S, 2 * _GIB)
HOUR = Level("hour", 3600, 400 * _DAY_S, 2 * _GIB)
LEVELS = (SECOND, MINUTE, HOUR)

SHAPE = Shape(
    application_id=0x4E52_4853,  # "NRHS"
    version=1,
    statements=(
        "CREATE TABLE layout (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE)",
        *(
            f"CREATE TABLE {level.table} "
            "(at_s INTEGER PRIMARY KEY, layout INTEGER NOT NULL, value BLOB NOT NULL)"
            for level in LEVELS
        ),
    ),
)

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Values at one instant, in the order of `names`. `weight_s`: how long they stand for."""

    at_s: int
    names: Names
    values: "array[float]"
    weight_s: int = 1


def packed(values: Sequence[float | None]) -> "array[float]":
    """Values as they are stored."""
    return array("f", [math.nan if value is None else value for value in values])


def put(database: sqlite3.Connection, level: Level, rows: Iterable[Row]) -> None:
    """Write rows, each over one of the same instant."""
    names, layout = None, None
    for row in rows:
        if row.names is not names:
            names, layout = row.names, _layout(database, row.names)
        database.execute(
            f"INSERT OR REPLACE INTO {level.table} VALUES (?, ?, ?)",  # noqa: S608 - our own tables
            (row.at_s, layout, row.values.tobytes()),
        )


def _layout(database: sqlite3.Connection, names: Names) -> int:
    text = json.dumps(names)
    database.execute("INSERT OR IGNORE INTO layout (names) VALUES (?)", (text,))
    row = database.execute("SELECT id FROM layout WHERE names = ?", (text,)).fetchone()
    return int(row[0])


def fold(database: sqlite3.Connection, now_s: int) -> None:
    """Make the means of every minute and hour whose rows are all there and that has none yet."""
    for finer, coarser in pairwise(LEVELS):
        step_s = coarser.step_s
        (newest_s,) = database.execute(
            f"SELECT max(at_s) FROM {finer.table} WHERE at_s <= ?",  # noqa: S608
            (now_s,),
        ).fetchone()
        if newest_s is None:
            continue
        end_s = (newest_s + finer.step_s) // step_s * step_s
        # Rows of a future that a wrong clock wrote must not keep the present from being made.
        (done_s,) = database.execute(
            f"SELECT max(at_s) FROM {coarser.table} WHERE at_s < ?",  # noqa: S608
            (end_s,),
        ).fetchone()
        begins = database.execute(
            f"SELECT DISTINCT at_s / {step_s} * {step_s} FROM {finer.table} "  # noqa: S608
            f"WHERE at_s >= ? AND at_s < ? LIMIT {_FOLDS_MAX}",
            (0 if done_s is None else done_s + step_s, end_s),
        ).fetchall()
        names_of = layouts(database)
        for (at_s,) in begins:
            rows = list(_of_level(database, names_of, finer, at_s, at_s + step_s))
            names = rows[-1].names
            series = means(rows, names, at_s, step_s, 1)
            values = packed([series[name][0] for name in names])
            put(database, coarser, [Row(at_s, names, values)])


def forget(database: sqlite3.Connection, now_s: int) -> None:
    """Remove what is too old, does not fit, or lies in the future by more than a day."""
    for level in LEVELS:
        newest = database.execute(
            f"SELECT length(value) FROM {level.table} ORDER BY at_s DESC LIMIT 1"  # noqa: S608
        ).fetchone()
        if newest is None:
            continue
        fits_s = level.bytes_max // (newest[0] + _ROW_OVERHEAD) * level.step_s
        database.execute(
            f"DELETE FROM {level.table} WHERE at_s < ? OR at_s > ?",  # noqa: S608
            (now_s - min(level.keep_s, fits_s), now_s + _DAY_S),
        )


def layouts(database: sqlite3.Connection) -> dict[int, Names]:
    """The names of every layout, the newest last."""
    rows = database.execute("SELECT id, names FROM layout ORDER BY id")
    return {number: tuple(json.loads(text)) for number, text in rows}


def read(database: sqlite3.Connection, level: Level, first_s: float) -> Iterator[Row]:
    """Rows of a level from `first_s` on, and of finer ones where its newest are not made yet."""
    names_of = layouts(database)
    begin_s = math.floor(first_s)
    for finer in reversed(LEVELS[: LEVELS.index(level) + 1]):
        for row in _of_level(database, names_of, finer, begin_s, None):
            yield row
            begin_s = row.at_s + finer.step_s


def _of_level(
    database: sqlite3.Connection,
    names_of: Mapping[int, Names],
    level: Level,
    begin_s: int,
    end_s: int | None,
) -> Iterator[Row]:
    rows = database.execute(
        f"SELECT at_s, layout, value FROM {level.table} "  # noqa: S608
        "WHERE at_s >= ? AND at_s < ? ORDER BY at_s",
        (begin_s, 2**62 if end_s is None else end_s),
    )
    with closing(rows):
        for at_s, layout, value in rows:
            yield Row(at_s, names_of[layout], array("f", value), level.step_s)


def means(
    rows: Iterator[Row] | Sequence[Row], wanted: Names, first_s: float, step_s: float, points: int
) -> dict[str, list[float | None]]:
    """Of each wanted series, `points` means over `step_s` each; None where nothing was known."""
    groups: dict[tuple[int, int], list[Sequence[float]]] = {}
    place_of: dict[Names, list[int | None]] = {}
    for row in rows:
        number = int((row.at_s - first_s) // step_s)
        if not 0 <= number < points:
            continue
        values: Sequence[float] = row.values
        if row.names != wanted:
            places = place_of.get(row.names)
            if places is None:
                index = {name: place for place, name in enumerate(row.names)}
                places = place_of[row.names] = [index.get(name) for name in wanted]
            values = [math.nan if place is None else row.values[place] for place in places]
        groups.setdefault((number, row.weight_s), []).append(values)
    sums = {name: [0.0] * points for name in wanted}
    weights = {name: [0.0] * points for name in wanted}
    for (number, weight_s), group in groups.items():
        for name, column in zip(wanted, zip(*group, strict=True), strict=True):
            known = [value for value in column if math.isfinite(value)]
            sums[name][number] += sum(known) * weight_s
            weights[name][number] += len(known) * weight_s
    return {
        name: [
            total / weight if weight else None
            for total, weight in zip(sums[name], weights[name], strict=True)
        ]
        for name in wanted
    }
