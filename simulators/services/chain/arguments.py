"""Arguments of calls, checked as Bitcoin Core does it, with its words for what is wrong."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from simulators.services.chain.errors import DESERIALIZATION, MISC, PARAMETER, TYPE, CallError
from simulators.services.chain.policy import MONEY_MAX_SAT
from simulators.services.chain.wire import Transaction, WireError, read_transaction

COIN_SAT = 100_000_000
INT_MIN, INT_MAX, UINT_MAX = -(1 << 31), (1 << 31) - 1, (1 << 32) - 1
ANY = "any"
_AMOUNT = re.compile(r"-?(0|[1-9]\d{0,20})(\.\d{1,20})?([eE][+-]?\d{1,3})?", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a call. `kind`: its JSON type, or "any" where the call looks for itself."""

    name: str
    kind: str = ANY
    needed: bool = False


def ordered(method: str, parameters: Sequence[Parameter], given: object) -> list[Any]:
    """A value for each parameter, None where none is given. Raises CallError."""
    values = _by_name(parameters, given) if isinstance(given, Mapping) else _listed(given)
    needed = sum(parameter.needed for parameter in parameters)
    if not needed <= len(values) <= len(parameters):
        names = " ".join(p.name if p.needed else f"( {p.name} )" for p in parameters)
        raise CallError(MISC, f"{method} {names}".rstrip())
    values += [None] * (len(parameters) - len(values))
    wrong = {}
    for number, (parameter, value) in enumerate(zip(parameters, values, strict=True), start=1):
        if parameter.kind == ANY or (value is None and not parameter.needed):
            continue
        if type_name(value) != parameter.kind:
            wrong[f"Position {number} ({parameter.name})"] = (
                f"JSON value of type {type_name(value)} is not of expected type {parameter.kind}"
            )
    if wrong:
        raise CallError(TYPE, f"Wrong type passed:\n{json.dumps(wrong, indent=4)}")
    return values


def type_name(value: object) -> str:
    """The JSON type of a value, by Core's name for it."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | Decimal():
            return "number"
        case str():
            return "string"
    return "object" if isinstance(value, Mapping) else "array"


def expect(value: object, kind: str) -> Any:
    """A value that must have a JSON type, inside of another."""
    if type_name(value) != kind:
        said = f"JSON value of type {type_name(value)} is not of expected type {kind}"
        raise CallError(TYPE, said)
    return value


def whole_number(value: object, *, signed: bool = True) -> int:
    """An integer of 32 bits."""
    number = expect(value, "number")
    low, high = (INT_MIN, INT_MAX) if signed else (0, UINT_MAX)
    if not isinstance(number, int) or not low <= number <= high:
        raise CallError(MISC, "JSON integer out of range")
    return number


def hash_text(value: object, name: str) -> str:
    """A hash as people see it."""
    text = str(expect(value, "string"))
    if len(text) != 64:
        said = f"{name} must be of length 64 (not {len(text)}, for '{text}')"
        raise CallError(PARAMETER, said)
    return hex_bytes(text, name).hex()


def hex_bytes(value: object, name: str) -> bytes:
    """Bytes in hexadecimal."""
    text = str(value) if type_name(value) in ("string", "number") else ""
    if not _HEX.fullmatch(text):
        raise CallError(PARAMETER, f"{name} must be hexadecimal string (not '{text}')")
    return bytes.fromhex(text)


def amount_sat(value: object) -> int:
    """Bitcoin, as a number or text with at most 8 places, in satoshis."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise CallError(TYPE, "Amount is not a number or string")
    text = str(value)
    if not _AMOUNT.fullmatch(text):
        raise CallError(TYPE, "Invalid amount")
    try:
        scaled = Decimal(text).scaleb(8)
        sat = int(scaled) if abs(scaled) < 10**18 else None
    except InvalidOperation:
        sat = None
    if sat is None or sat != scaled:
        raise CallError(TYPE, "Invalid amount")
    if not 0 <= sat <= MONEY_MAX_SAT:
        raise CallError(TYPE, "Amount out of range")
    return sat


def fee_rate_sat_per_kvb(value: object) -> int:
    """A fee rate given in bitcoin per 1000 virtual bytes."""
    rate = amount_sat(value)
    if rate >= COIN_SAT:
        said = "Fee rates larger than or equal to 1BTC/kvB are not accepted"
        raise CallError(PARAMETER, said)
    return rate


def transaction(value: object, message: str) -> Transaction:
    """A whole transaction in hexadecimal; `message` when it is none."""
    text = expect(value, "string")
    if _HEX.fullmatch(text):
        data = bytes.fromhex(text)
        # A transaction without inputs looks like the beginning of one with witnesses.
        for witness in (True, False):
            try:
                return read_transaction(data, witness=witness)
            except WireError:
                continue
    raise CallError(DESERIALIZATION, message)


def _listed(given: object) -> list[Any]:
    return list(given) if isinstance(given, list) else []


def _by_name(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> list[Any]:
    left = dict(given)
    values = []
    for parameter in parameters:
        names = [name for name in parameter.name.split("|") if name in left]
        values.append(left.pop(names[0]) if names else None)
    if left:
        raise CallError(PARAMETER, f"Unknown named parameter {next(iter(left))}")
    while values and values[-1] is None:
        values.pop()
    return values
