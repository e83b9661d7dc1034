"""Line protocol, made by hand from what the site knows.

    miner,site=issyk,miner=m-01 power_w=3300,hashing=True,mode="normal",seq=17i 1795590000000000000
    └─────────── head ────────┘ └───────────── fields ──────────────┘└─ seq ──┘└────── time ──────┘

A head is made once a series, the field templates once a pattern of what is known. `seq` and time
are put behind when the line is stored, so that no number is given to a line that is not kept.
Floats have 12 significant digits. What is no number is left out; a line without fields is none.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import isfinite

from controller.telemetry.measurement import FieldKind, Measurement

Line = tuple[str, int]
"""A line without `seq`, and its time in ns since 1970."""
Number = float | int | bool | None

TEXT_CHARS_MAX = 500
"""Texts may be a device's or a stranger's; longer ones are cut."""
_TAG_CHARS_MAX = 200
_STEP_BACK_NS = 60_000_000_000
"""A clock that is set back by less only slows the series' time; by more, the series follows it."""
_SERIES_MAX = 200_000
"""Series whose last time is remembered: more than any site has at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMATS = {FieldKind.FLOAT: "%.12g", FieldKind.INTEGER: "%di", FieldKind.BOOLEAN: "%s"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TAG_MARKS = re.compile(r"([,= ])")
_SEQ = re.compile(rb",seq=(\d+)i \d+$")


class Form:
    """The lines of one measurement."""

    def __init__(self, measurement: Measurement) -> None:
        self.name = measurement.name
        self._tags = measurement.tags
        self._numbers = [f"{f.name}={_FORMATS[f.kind]}" for f in measurement.numbers]
        self._texts = [f'{f.name}="%s"' for f in measurement.texts]
        self._whole = ",".join(self._numbers + self._texts)
        self._templates: dict[tuple[bool, ...], str] = {}

    def head(self, *values: str) -> str:
        """Measurement and tags, in the order of the table; an empty value is no tag."""
        tags = zip(self._tags, values, strict=True)
        return ",".join([self.name, *(f"{key}={tag_value(value)}" for key, value in tags if value)])

    def fields(self, numbers: tuple[Number, ...], texts: tuple[str | None, ...] = ()) -> str | None:
        """The fields in the order of the table; None when nothing is known.

        Texts are given raw. None, NaN and infinite values are left out.
        """
        try:
            whole = isfinite(sum(numbers))  # type: ignore[arg-type]  # None is a TypeError
        except TypeError:
            whole = False
        if whole and None not in texts:
            return self._whole % (*numbers, *map(text_value, texts))
        return self._known(numbers, texts)

    def _known(self, numbers: tuple[Number, ...], texts: tuple[str | None, ...]) -> str | None:
        known = [value for value in numbers if value is not None]
        if not isfinite(sum(known)):
            numbers = tuple([n if n is not None and isfinite(n) else None for n in numbers])
            known = [value for value in numbers if value is not None]
        mask = tuple([value is not None for value in (*numbers, *texts)])
        template = self._templates.get(mask)
        if template is None:
            parts = zip(self._numbers + self._texts, mask, strict=True)
            template = ",".join(part for part, known in parts if known)
            self._templates[mask] = template
        words = [text_value(text) for text in texts if text is not None]
        return template % (*known, *words) if template else None


class Stamps:
    """Gives every series times that differ and rise: the same time again would overwrite a line."""

    def __init__(self) -> None:
        self._last_ns: dict[str, int] = {}

    def line(self, head: str, fields: str | None, at_ns: int) -> Iterable[Line]:
        """The line of this head, at `at_ns` or just after the series' last; none without fields."""
        if fields is None:
            return ()
        last_ns = self._last_ns.pop(head, None)
        if last_ns is not None and 0 <= last_ns - at_ns < _STEP_BACK_NS:
            at_ns = last_ns + 1
        self._last_ns[head] = at_ns
        if len(self._last_ns) > _SERIES_MAX:
            del self._last_ns[next(iter(self._last_ns))]
        return ((f"{head} {fields}", at_ns),)


def tag_value(text: str) -> str:
    """A tag's value as the protocol wants it. A backslash cannot be said there and becomes `/`."""
    plain = _UNSAFE.sub(" ", text[:_TAG_CHARS_MAX]).replace("\\", "/")
    return _TAG_MARKS.sub(r"\\\1", plain)


def text_value(text: str | None) -> str:
    """A text field's value without its quotes; control characters become blanks."""
    plain = _UNSAFE.sub(" ", (text or "")[:TEXT_CHARS_MAX])
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def numbered(line: Line, seq: int) -> str:
    """The whole line."""
    return f"{line[0]},seq={seq}i {line[1]}"


def seq_of(whole: bytes) -> int | None:
    """The number of a whole line; None when it has none."""
    found = _SEQ.search(whole)
    return None if found is None else int(found[1])


def unix_ns(at: datetime) -> int:
    """Whole nanoseconds since 1970, exactly."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
