"""What the journal's blobs hold: core types as JSON, each the same after reading as before writing.

A field that this program does not know is an error, not a shrug: a blob of another version is
brought up to date by a step of journal_schema.py, or refused.
"""

from typing import Any, Generic, TypeVar

import msgspec

from controller.config.inventory import InventoryRow
from controller.power.state import Order, State, Target
from controller.site.journal_schema import JournalError

Value = TypeVar("Value")


class Form(Generic[Value]):
    """One type as the JSON of a blob. What goes in comes out, or an error does."""

    def __init__(self, what: str, kind: type[Value]) -> None:
        self.what = what
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(kind)

    def encode(self, name: str, value: Value) -> bytes:
        """Raises JournalError for what JSON has no word for: NaN and infinity become null."""
        blob = self._encoder.encode(value)
        try:
            same = self._decoder.decode(blob) == value
        except msgspec.ValidationError:
            same = False
        if not same:
            raise JournalError(
                f"{self.what} {name}: would not be read back as it is; is a number NaN or infinite?"
            )
        return blob

    def decode(self, blob: bytes) -> Value:
        """Raises ValueError for what is not this type, and for a field that it does not know.

        To pass over such a field would forget what some other version of the program remembered.
        """
        value = self._decoder.decode(blob)
        lost = _first_lost(
            msgspec.json.decode(blob), msgspec.json.decode(self._encoder.encode(value))
        )
        if lost is not None:
            raise ValueError(f"this program does not know its field `{lost}`")
        return value


def _first_lost(stored: Any, kept: Any, where: str = "") -> str | None:
    """The first key of JSON `stored` that JSON `kept` does not have."""
    if isinstance(stored, dict):
        for key, value in stored.items():
            at = f"{where}.{key}" if where else str(key)
            lost = _first_lost(value, kept[key], at) if key in kept else at
            if lost is not None:
                return lost
    return None


STATE = Form("state", State)
TARGET = Form("target", Target)
ORDER = Form("order", Order)
ROW = Form("inventory row", InventoryRow)
