"""Reading the tables of a data file so that every mistake is found at once.

    fields = Fields(tomllib.loads(text), "firmware-configs/meters/x.toml", problems := [])
    product = fields.text("product")  # a mistake is noted in `problems`, a blank is returned
    fields.refuse_unknown()
    if problems: …

Each problem is one sentence: file, key, what is wrong, how to mend it.
"""

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

_MISSING: Final = object()
TEXT_LENGTH_MAX = 2000


class Fields:
    """One table of a data file and the keys that were asked of it."""

    def __init__(
        self, table: Mapping[str, object], file: str, problems: list[str], at: str = ""
    ) -> None:
        self._table = table
        self._file = file
        self._problems = problems
        self._at = at
        self._known: set[str] = set()

    def problem(self, key: str, sentence: str) -> None:
        """Note a mistake at a key of this table."""
        self._problems.append(f"{self._file}: {self._at}{key}: {sentence}")

    @property
    def problem_count(self) -> int:
        """How many mistakes the whole file has so far."""
        return len(self._problems)

    def has(self, key: str) -> bool:
        """Whether the table gives the key; the key counts as known."""
        self._known.add(key)
        return key in self._table

    def keys(self) -> tuple[str, ...]:
        """Every key of the table, for tables whose keys are data; all count as known."""
        self._known.update(self._table)
        return tuple(self._table)

    def text(self, key: str, *, default: str | None = None) -> str:
        """A non-empty string."""
        value = self._get(key, default)
        if isinstance(value, str) and 0 < len(value) <= TEXT_LENGTH_MAX:
            return value
        self._wrong(key, value, "a text in quotes")
        return ""

    def optional_text(self, key: str) -> str | None:
        """A non-empty string, or None when the key is absent."""
        return self.text(key) if self.has(key) else None

    def choice(self, key: str, options: Collection[str], *, default: str | None = None) -> str:
        """One of the given words."""
        value = self._get(key, default)
        if isinstance(value, str) and value in options:
            return value
        self._wrong(key, value, f"one of {', '.join(sorted(options))}")
        return next(iter(options))

    def one_of(self, key: str, options: Sequence[int], *, default: int | None = None) -> int:
        """One of the given whole numbers."""
        value = self._get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value in options:
            return value
        self._wrong(key, value, f"one of {', '.join(map(str, options))}")
        return options[0]

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """True or false."""
        value = self._get(key, default)
        if isinstance(value, bool):
            return value
        self._wrong(key, value, "true or false")
        return False

    def integer(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        """A whole number of low to high."""
        value = self._get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self._wrong(key, value, f"a whole number of {low} to {high}")
        return low

    def number(self, key: str, low: float, high: float, *, default: float | None = None) -> float:
        """A finite number of low to high."""
        value = self._get(key, default)
        if (found := finite(value)) is not None and low <= found <= high:
            return found
        self._wrong(key, value, f"a number of {low:g} to {high:g}")
        return low

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """A number, or None when the key is absent."""
        return self.number(key, low, high) if self.has(key) else None

    def pair(self, key: str) -> tuple[float, float]:
        """Two different finite numbers."""
        value = self._get(key, None)
        if isinstance(value, list) and len(value) == 2:
            first, second = finite(value[0]), finite(value[1])
            if first is not None and second is not None and first != second:
                return first, second
        self._wrong(key, value, "two different numbers, e.g. [45, 55]")
        return 0.0, 1.0

    def array(self, key: str) -> list[object]:
        """An array; empty when the key is absent."""
        value = self._get(key, _MISSING)
        if value is _MISSING:
            return []
        if isinstance(value, list):
            return value
        self._wrong(key, value, "an array, e.g. [1, 2]")
        return []

    def table(self, key: str) -> "Fields | None":
        """A table below this one; None when it is absent."""
        value = self._get(key, _MISSING)
        if value is _MISSING:
            return None
        if isinstance(value, dict):
            return Fields(value, self._file, self._problems, f"{self._at}{key}.")
        self._wrong(key, value, "a table")
        return None

    def tables(self, key: str) -> list["Fields"]:
        """An array of tables, `[[key]]`; empty when it is absent."""
        found: list[Fields] = []
        for place, value in enumerate(self.array(key), start=1):
            if isinstance(value, dict):
                at = f"{self._at}{key}[{place}]."
                found.append(Fields(value, self._file, self._problems, at))
            else:
                self._wrong(f"{key}[{place}]", value, "a table")
        return found

    def refuse_unknown(self) -> None:
        """Note each key that nobody asked for; call it when all have been asked."""
        for key in self._table:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                mend = f"did you mean {near[0]}?" if near else "remove it"
                self.problem(key, f"unknown key; {mend}")

    def _get(self, key: str, default: object) -> object:
        self._known.add(key)
        return self._table.get(key, default)

    def _wrong(self, key: str, value: object, wanted: str) -> None:
        said = "missing" if value is None or value is _MISSING else f"{value!r:.60} is wrong"
        self.problem(key, f"{said}; give {wanted}")


def finite(value: object) -> float | None:
    """The value as a float when it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
