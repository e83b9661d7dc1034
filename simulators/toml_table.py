"""Reads a table of a TOML file strictly and remembers every mistake, so that all are told at once.

A getter that meets a mistake notes it and returns a harmless value of the right type; whoever reads
a file builds its values, calls `finish` on every table, and drops them if there are problems.
"""

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final


class _Missing:
    """The key has no default: it must be there."""


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: which key, what stands there, how to mend it."""

    key: str
    found: str
    mend: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.key}: {self.found}; {self.mend}"


@dataclass(slots=True)
class Problems:
    """The mistakes of one file, in the order of reading."""

    items: list[Problem] = field(default_factory=list)

    def add(self, key: str, found: str, mend: str) -> None:
        """Remember one mistake."""
        self.items.append(Problem(key, found, mend))


class Table:
    """One table of the file, at `path` such as ``feeder[0]``; notes its mistakes in `problems`."""

    def __init__(self, raw: object, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self.raw: Mapping[str, object] = {}
        self._asked: set[str] = set()
        if isinstance(raw, dict):
            self.raw = raw
        else:
            problems.add(path, f"{raw!r} is not a table", f"write it as [{path}]")

    def key(self, name: str) -> str:
        """Return the full name of a key, for messages."""
        return f"{self.path}.{name}" if self.path else name

    def mistake(self, name: str, mend: str) -> None:
        """Remember that the value of `name` cannot stand."""
        self.problems.add(self.key(name), f"{self.raw.get(name)!r} is wrong", mend)

    def number(
        self,
        name: str,
        default: float | _Missing = MISSING,
        *,
        low: float = 0.0,
        high: float = math.inf,
    ) -> float:
        """Return a finite number within low … high."""
        value = self._take(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number) and low <= number <= high:
                return number
        if value is not None:
            self.mistake(name, f"write a number from {low:g} to {high:g}")
        return low

    def integer(
        self, name: str, default: int | _Missing = MISSING, *, low: int = 0, high: int
    ) -> int:
        """Return a whole number within low … high."""
        value = self._take(name, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        if value is not None:
            self.mistake(name, f"write a whole number from {low} to {high}")
        return low

    def boolean(self, name: str, default: bool | _Missing = MISSING) -> bool:
        """Return true or false."""
        value = self._take(name, default)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.mistake(name, "write true or false")
        return False

    def text(self, name: str, default: str | _Missing = MISSING, *, length_max: int = 200) -> str:
        """Return a text that is not empty, unless its default is."""
        value = self._take(name, default)
        if isinstance(value, str) and (value or value == default) and len(value) <= length_max:
            return value
        if value is not None:
            self.mistake(name, f"write a text of 1 to {length_max} characters")
        return ""

    def choice(self, name: str, choices: Collection[str], default: str | _Missing = MISSING) -> str:
        """Return one of `choices`; after a mistake the first of them."""
        value = self._take(name, default)
        if isinstance(value, str) and value in choices:
            return value
        if value is not None:
            self.mistake(name, f"write one of: {', '.join(choices)}{_nearest(value, choices)}")
        return next(iter(choices))

    def table(self, name: str) -> "Table":
        """Return a table within this one; an absent one reads as empty, so its defaults hold."""
        self._asked.add(name)
        return Table(self.raw.get(name, {}), self.key(name), self.problems)

    def tables(self, name: str, *, count_max: int) -> list["Table"]:
        """Return the tables of an array; none when it is absent."""
        self._asked.add(name)
        found = self.raw.get(name, [])
        if not isinstance(found, list):
            self.problems.add(
                self.key(name), "not an array of tables", f"write [[{self.key(name)}]]"
            )
            return []
        if len(found) > count_max:
            self.problems.add(self.key(name), f"{len(found)} tables", f"write {count_max} at most")
        return [
            Table(raw, f"{self.key(name)}[{index}]", self.problems)
            for index, raw in enumerate(found[:count_max])
        ]

    def scalars(self) -> dict[str, str | int | float | bool]:
        """Return every key not asked for so far: the free parameters of an event."""
        rest: dict[str, str | int | float | bool] = {}
        for name, value in self.raw.items():
            if name in self._asked:
                continue
            self._asked.add(name)
            if isinstance(value, str | bool | int) or (
                isinstance(value, float) and math.isfinite(value)
            ):
                rest[name] = value
            else:
                self.mistake(name, "write a text, a finite number, true or false")
        return rest

    def finish(self) -> None:
        """Note every key that nobody asked for."""
        for name in self.raw:
            if name not in self._asked:
                known = sorted(self._asked)
                self.problems.add(
                    self.key(name),
                    "no such key",
                    f"remove it; the keys here are {', '.join(known)}{_nearest(name, known)}",
                )

    def _take(self, name: str, default: object) -> object:
        self._asked.add(name)
        value = self.raw.get(name, default)
        if isinstance(value, _Missing):
            self.problems.add(self.key(name), "missing", "write it")
            return None
        return value


def _nearest(found: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(str(found), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
