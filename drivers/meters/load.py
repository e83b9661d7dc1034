"""TOML → RegisterMap. Every mistake of a file at once: file, key, what is wrong, how to mend it.

A map is checked by its own golden frames as it is loaded, so a map whose words no longer decode to
the values beside them is refused, not used. The format: `drivers/meters/README.md`.
"""

import re
import tomllib
from pathlib import Path

from drivers.contract.quantities import Signal
from drivers.data_fields import Fields, finite
from drivers.data_files import FILE_BYTES_MAX, config_root, read_config
from drivers.meters.golden import golden_frames, golden_problems
from drivers.meters.map import (
    UNIT_FACTORS,
    FrequencyGrade,
    Identity,
    MappedSignal,
    MapStatus,
    RatioSource,
    RegisterMap,
    ValueType,
    WordOrder,
    unit_ending,
)
from drivers.meters.spans import span_problems

FOLDERS = ("meters", "plant")
ADDRESS_BASES = (0, 1, 30001, 40001, 300001, 400001)
WORDS_PER_REQUEST_MAX = 125
_PRODUCT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class MapError(ValueError):
    """A register map cannot be used. `problems` holds one sentence a mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def products() -> tuple[str, ...]:
    """Every product that has a map, by name."""
    folders = [config_root() / folder for folder in FOLDERS]
    names = [one.name for folder in folders if folder.is_dir() for one in folder.iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_map(product: str) -> RegisterMap:
    """The map of a product that Naryn carries, e.g. `siemens-pac4200`. Raises MapError."""
    for folder in FOLDERS:
        if _PRODUCT.fullmatch(product) and product in products():
            try:
                text = read_config(folder, f"{product}.toml")
            except FileNotFoundError:
                continue
            except ValueError as error:
                raise MapError([str(error)]) from error
            return parse_map(text, f"firmware-configs/{folder}/{product}.toml")
    raise MapError([f"product {product!r} has no map; there are: {', '.join(products())}"])


def read_map_file(path: Path) -> RegisterMap:
    """A map of the site's own, e.g. of its plant PLC. Raises MapError."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise MapError([f"{path}: larger than {FILE_BYTES_MAX} bytes; this is no map"])
        text = content.decode("utf-8")
    except OSError as error:
        raise MapError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise MapError([f"{path}: not UTF-8 text ({error}); save it as UTF-8"]) from error
    return parse_map(text, str(path))


def parse_map(text: str, file: str) -> RegisterMap:
    """A map from its text; `file` names it in errors. Raises MapError with every mistake."""
    problems: list[str] = []
    try:
        top = Fields(tomllib.loads(text), file, problems)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MapError([f"{file}: not TOML: {error}"]) from error
    product = top.text("product")
    if product and (_PRODUCT.fullmatch(product) is None or Path(file).stem != product):
        top.problem("product", f"{product!r} is wrong; give the file's own name, a-z 0-9 and '-'")
    base = top.one_of("address_base", ADDRESS_BASES)
    order = WordOrder(top.choice("word_order", list(WordOrder), default="ABCD"))
    register_map = RegisterMap(
        product=product,
        vendor=top.text("vendor"),
        model=top.text("model"),
        manual=top.text("manual"),
        function=top.one_of("function", (3, 4)),
        signals=_signals(top, base, order),
        words_per_request_max=top.integer(
            "words_per_request_max", 1, WORDS_PER_REQUEST_MAX, default=WORDS_PER_REQUEST_MAX
        ),
        gap_words_max=top.integer("gap_words_max", 0, WORDS_PER_REQUEST_MAX, default=0),
        forbidden=_forbidden(top, base),
        pause_s=top.number("pause_ms", 0, 10_000, default=0) / 1000,
        update_s=_seconds(top.optional_number("update_ms", 1, 3_600_000)),
        frozen_after_s=top.optional_number("frozen_after_s", 1, 86_400),
        ratios=RatioSource(top.choice("ratios", list(RatioSource))),
        status=_status(top),
        golden=golden_frames(top, base),
        frequency_grade=_grade(top),
        identity=_identity(top, base),
    )
    top.refuse_unknown()
    _check_whole(register_map, top)
    if problems:
        raise MapError(problems)
    return register_map


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _signals(top: Fields, base: int, order: WordOrder) -> tuple[MappedSignal, ...]:
    table = top.table("signals")
    found: list[MappedSignal] = []
    for name in () if table is None else table.keys():
        fields = table.table(name) if table is not None else None
        if table is None or fields is None:
            continue
        if name not in list(Signal):
            table.problem(name, f"unknown signal; there are: {', '.join(Signal)}")
            continue
        before = top.problem_count
        one = _signal(Signal(name), fields, base, order)
        fields.refuse_unknown()
        if top.problem_count == before:
            found.append(one)
    if table is None or not table.keys():
        top.problem("signals", "no signal; give at least one table, e.g. [signals.power_w]")
    return tuple(sorted(found, key=lambda one: (one.address, one.signal.value)))


def _signal(signal: Signal, fields: Fields, base: int, order: WordOrder) -> MappedSignal:
    value_type = ValueType(fields.choice("type", list(ValueType)))
    factors = UNIT_FACTORS[unit_ending(signal)]
    factor = factors[fields.choice("unit", list(factors))]
    factor *= fields.one_of("sign", (1, -1), default=1)
    gain, offset = _line(fields)
    low, high = fields.pair("plausible")
    if low > high:
        fields.problem("plausible", f"[{low:g}, {high:g}] is wrong; give the lower bound first")
    bit = None
    if fields.has("bit"):
        bit = fields.integer("bit", 0, 16 * value_type.words - 1)
        if not value_type.value.startswith("u"):
            fields.problem("bit", f"bits of a {value_type} have no meaning; give type u16 or u32")
    return MappedSignal(
        signal=signal,
        address=_address(fields, "address", base, value_type.words),
        type=value_type,
        word_order=WordOrder(fields.choice("word_order", list(WordOrder), default=order)),
        gain=gain * factor,
        offset=offset * factor,
        plausible=(low, high),
        not_available=_sentinels(fields, value_type),
        bit=bit,
        group=fields.optional_text("group"),
    )


def _line(fields: Fields) -> tuple[float, float]:
    """(gain, offset) in the map's unit: from a linear pair, or from scale and offset."""
    if not fields.has("raw") and not fields.has("engineering"):
        gain = fields.number("scale", -1e12, 1e12, default=1)
        if gain == 0:
            fields.problem("scale", "0 is wrong; every value would be the same")
        return gain, fields.number("offset", -1e12, 1e12, default=0)
    for key in ("scale", "offset"):
        if fields.has(key):
            fields.problem(key, "given beside raw and engineering; keep one of the two forms")
    (raw_low, raw_high), (low, high) = fields.pair("raw"), fields.pair("engineering")
    gain = (high - low) / (raw_high - raw_low)
    return gain, low - gain * raw_low


def _sentinels(fields: Fields, value_type: ValueType) -> frozenset[int]:
    found: set[int] = set()
    for value in fields.array("not_available"):
        largest = (1 << 16 * value_type.words) - 1
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest:
            found.add(value)
        else:
            fields.problem(
                "not_available", f"{value!r} is wrong; give raw words, 0 to {largest:#x}"
            )
    return frozenset(found)


def _address(fields: Fields, key: str, base: int, words: int) -> int:
    """The wire address of what the manual calls `address`."""
    return fields.integer(key, base, base + 65536 - words) - base


def _forbidden(top: Fields, base: int) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for one in top.array("forbidden_gaps"):
        ends = [finite(end) for end in one] if isinstance(one, list) else []
        match ends:
            case [float(first), float(last)] if base <= first <= last <= base + 65535:
                found.append((int(first) - base, int(last) - base))
            case _:
                top.problem("forbidden_gaps", f"{one!r} is wrong; give [first, last] addresses")
    return tuple(sorted(found))


def _status(top: Fields) -> MapStatus:
    fields = top.table("status")
    if fields is None:
        top.problem("status", "missing; give [status] with vendor_page, code or verified_by")
        return MapStatus(vendor_page=None, code=None, verified_by=None, verified_on=None)
    keys = ("vendor_page", "code", "verified_by", "verified_on")
    status = MapStatus(**{key: fields.optional_text(key) for key in keys})
    if (status.verified_by is None) != (status.verified_on is None):
        fields.problem("verified_by", "who and when go together; give verified_by and verified_on")
    if not (status.vendor_page or status.code or status.verified_by):
        fields.problem("vendor_page", "missing; say what the map rests on")
    fields.refuse_unknown()
    return status


def _grade(top: Fields) -> FrequencyGrade | None:
    fields = top.table("frequency_grade")
    if fields is None:
        return None
    grade = FrequencyGrade(
        resolution_mhz=fields.number("resolution_mhz", 0.001, 1000),
        update_s=fields.number("update_ms", 1, 60_000) / 1000,
    )
    fields.refuse_unknown()
    return grade


def _identity(top: Fields, base: int) -> Identity | None:
    fields = top.table("identity")
    if fields is None:
        return None
    words: list[int] = []
    for word in fields.array("words"):
        if isinstance(word, int) and not isinstance(word, bool) and 0 <= word <= 0xFFFF:
            words.append(word)
        else:
            fields.problem("words", f"{word!r} is wrong; give registers, 0 to 0xFFFF")
    if not 1 <= len(words) <= 16:
        fields.problem("words", f"{len(words)} words; give the 1 to 16 registers of the model")
    found = Identity(address=_address(fields, "address", base, len(words)), words=tuple(words))
    fields.refuse_unknown()
    return found


def _check_whole(register_map: RegisterMap, top: Fields) -> None:
    """What only shows when the parts are put together."""
    for key, sentence in span_problems(register_map):
        top.problem(key, sentence)
    if register_map.frequency_grade and register_map.mapped(Signal.FREQUENCY_HZ) is None:
        top.problem("frequency_grade", "no frequency_hz is mapped; remove the grade or map it")
    update_s, frozen_after_s = register_map.update_s, register_map.frozen_after_s
    if update_s is not None and frozen_after_s is not None and frozen_after_s < 3 * update_s:
        top.problem("frozen_after_s", f"less than three updates of {update_s:g} s; give more")
    if not top.problem_count:
        for key, sentence in golden_problems(register_map):
            top.problem(key, sentence)
