"""Everything wrong with a file, told at once: where, what stands there, and how to mend it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. `key` is the dotted path or `line N`; `value` is what stands there."""

    file: Path
    key: str
    value: str
    mend: str

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        return f"{self.file}: {self.key}{shown}: {self.mend}"


class ConfigError(Exception):
    """A file that people wrote cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def shown(value: object) -> str:
    """A value as people wrote it, shortened for a message."""
    text = f'"{_visible(value)}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _visible(text: str) -> str:
    """One line that a terminal shows as it is, whatever stands in the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
