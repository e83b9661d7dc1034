"""Map files: what is right becomes a map, what is wrong is said all at once with its mend."""

import re
from pathlib import Path

import pytest

import drivers.meters
from drivers.contract.quantities import Signal
from drivers.data_files import config_root
from drivers.meters.load import MapError, load_map, parse_map, products, read_map_file
from drivers.meters.map import FrequencyGrade, Identity, RatioSource, RegisterMap, WordOrder

GOOD = """
product = "acme-1"
vendor = "Acme"
model = "One"
manual = "Acme One manual"
function = 4
address_base = 40001
ratios = "site"
words_per_request_max = 60
gap_words_max = 3
forbidden_gaps = [[40105, 40106]]
pause_ms = 25
update_ms = 200
frozen_after_s = 10

[status]
vendor_page = "p. 7"
verified_by = "A. Operator"
verified_on = "2026-01-31"

[frequency_grade]
resolution_mhz = 1
update_ms = 100

[identity]
address = 40901
words = [0x4143, 0x4D45]

[signals.power_w]
address = 40101
type = "i32"
unit = "kW"
scale = 0.01
sign = -1
not_available = [0x7FFFFFFF]
plausible = [-1e6, 1e6]

[signals.frequency_hz]
address = 40103
type = "u16"
unit = "Hz"
raw = [0, 9999]
engineering = [45, 65]
plausible = [45, 55]

[signals.unit1_breaker_closed]
address = 40104
type = "u16"
unit = "bool"
bit = 3
plausible = [0, 1]

[[golden]]
name = "importing"
synthetic = true
[golden.words]
"40101" = "FFFF FC18 09C4 0008"
[golden.values]
power_w = 10000.0
frequency_hz = 50.0005001
unit1_breaker_closed = 1.0

[[golden]]
name = "off"
synthetic = true
not_available = ["power_w"]
[golden.words]
"40101" = "7FFF FFFF"
"""


def test_a_whole_map() -> None:
    one = parse_map(GOOD, "acme-1.toml")
    assert (one.function, one.words_per_request_max, one.gap_words_max) == (4, 60, 3)
    assert (one.pause_s, one.update_s, one.frozen_after_s) == (0.025, 0.2, 10)
    assert one.forbidden == ((104, 105),)
    assert one.ratios is RatioSource.SITE
    assert one.status.verified_by == "A. Operator"
    assert one.frequency_grade == FrequencyGrade(resolution_mhz=1, update_s=0.1)
    assert one.identity == Identity(address=900, words=(0x4143, 0x4D45))
    power = one.mapped(Signal.POWER_W)
    assert power is not None
    assert (power.address, power.end, power.gain, power.offset) == (100, 102, -10.0, 0.0)
    assert power.not_available == {0x7FFFFFFF}
    assert power.word_order is WordOrder.ABCD
    frequency = one.mapped(Signal.FREQUENCY_HZ)
    assert frequency is not None
    assert frequency.gain == pytest.approx(20 / 9999)
    assert frequency.offset == 45.0
    assert one.mapped(Signal.POWER_L1_W) is None


#  what is replaced · by what · what the error says
WRONG = {
    "unknown key": ("pause_ms", "pauze_ms", "pauze_ms: unknown key; did you mean pause_ms?"),
    "unknown key of a signal": ("sign = -1", "sing = -1", "sing: unknown key; did you mean sign?"),
    "unknown signal": ("signals.power_w", "signals.power_kw", "power_kw: unknown signal"),
    "unit of another quantity": ('"kW"', '"V"', "signals.power_w.unit: 'V' is wrong; give one of"),
    "no unit": ('unit = "kW"', "", "signals.power_w.unit: missing; give one of MW, W, kW"),
    "no plausible range": ("plausible = [-1e6, 1e6]", "", "signals.power_w.plausible: missing"),
    "range upside down": ("[-1e6, 1e6]", "[1e6, -1e6]", "give the lower bound first"),
    "range of one": ("[-1e6, 1e6]", "[5]", "give two different numbers"),
    "NaN in a range": ("[-1e6, 1e6]", "[nan, 1]", "give two different numbers"),
    "type": ('"i32"', '"i31"', "signals.power_w.type: 'i31' is wrong; give one of f32, f64"),
    "overlap": ("address = 40103", "address = 40102", "overlaps the registers of power_w"),
    "same register twice": ("address = 40104", "address = 40103", "overlaps the registers of freq"),
    "in a forbidden gap": ("[[40105, 40106]]", "[[40104, 40106]]", "lies in a forbidden gap"),
    "gap backwards": ("[[40105, 40106]]", "[[40106, 40105]]", "forbidden_gaps: [40106, 40105] is"),
    "address below the base": ("address = 40101", "address = 101", "power_w.address: 101 is wro"),
    "address beyond the end": ("address = 40101", "address = 105536", "a whole number of 40001 to"),
    "address base": ("= 40001", "= 2", "address_base: 2 is wrong; give one of 0, 1, 30001"),
    "function": ("function = 4", "function = 16", "function: 16 is wrong; give one of 3, 4"),
    "function as text": ("function = 4", 'function = "4"', "function: '4' is wrong"),
    "true is no number": ("gap_words_max = 3", "gap_words_max = true", "gap_words_max: True"),
    "too long a request": ("_max = 60", "_max = 126", "a whole number of 1 to 125"),
    "scale beside a linear pair": ("[45, 65]", "[45, 65]\nscale = 2", "keep one of the two forms"),
    "half a linear pair": ("engineering = [45, 65]", "", "frequency_hz.engineering: missing"),
    "scale 0": ("scale = 0.01", "scale = 0", "power_w.scale: 0 is wrong"),
    "sign": ("sign = -1", "sign = 2", "sign: 2 is wrong; give one of 1, -1"),
    "sentinel too wide": ("[0x7FFFFFFF]", "[0x7FFFFFFFF]", "raw words, 0 to 0xffffffff"),
    "bit of a signed value": ('"u16"\nunit = "bool"', '"i16"\nunit = "bool"', "have no meaning"),
    "bit beyond the word": ("bit = 3", "bit = 16", "unit1_breaker_closed.bit: 16 is wrong"),
    "lone group": ("bit = 3", 'bit = 3\ngroup = "g"', "'g' has one member"),
    "verified by nobody": ('verified_by = "A. Operator"', "", "who and when go together"),
    "identity of no words": ("[0x4143, 0x4D45]", "[]", "identity.words: 0 words"),
    "identity too large": ("[0x4143, 0x4D45]", "[0x41434D45]", "give registers, 0 to 0xFFFF"),
    "frozen too soon": ("update_ms = 200", "update_ms = 4000", "less than three updates of 4 s"),
    "golden words changed": ("FC18", "FC19", "the words decode to 9990 in place of 10000"),
    "golden value changed": ("50.0005001", "49.98", "golden[1].values.frequency_hz: the words dec"),
    "golden nothing is something": ("7FFF FFFF", "0000 0000", "decode to -0, not to nothing"),
    "golden words missing": ('"40101" = "7FFF FFFF"', "", "lacks words of wire addresses 100 to"),
    "golden words not hex": ("7FFF FFFF", "watt", "golden[2].words.40101: wrong"),
    "golden word too wide": ("7FFF FFFF", "17FFF FFFF", "golden[2].words.40101: wrong"),
    "signal no frame proves": ("unit1_breaker_closed = 1.0", "", "breaker_closed is in no frame"),
    "unknown golden signal": ("frequency_hz = 50", "frequency = 50", "values.frequency: unknown"),
    "product is not the file": ('"acme-1"', '"acme-2"', "give the file's own name"),
    "no TOML": ("[status]", "[status", "acme-1.toml: not TOML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_said_with_file_key_and_mend(case: str) -> None:
    old, new, sentence = WRONG[case]
    assert old in GOOD
    with pytest.raises(MapError) as caught:
        parse_map(GOOD.replace(old, new, 1), "acme-1.toml")
    assert sentence in str(caught.value)
    assert all(line.startswith("acme-1.toml: ") for line in caught.value.problems)


def test_all_mistakes_at_once() -> None:
    wrong = GOOD.replace('"kW"', '"V"').replace("pause_ms", "pauze_ms").replace("function = 4", "")
    with pytest.raises(MapError) as caught:
        parse_map(wrong, "acme-1.toml")
    keys = [problem.split(": ")[1] for problem in caught.value.problems]
    assert sorted(keys) == ["function", "pauze_ms", "signals.power_w.unit"]


@pytest.mark.parametrize("text", ["", "signals = 3", "[signals]", "golden = [1]", "status = []"])
def test_an_empty_map_is_refused_not_crashed(text: str) -> None:
    with pytest.raises(MapError) as caught:
        parse_map(text, "acme-1.toml")
    assert len(caught.value.problems) > 5


def test_a_group_that_no_request_can_hold() -> None:
    wide = GOOD.replace("scale = 0.01", 'scale = 0.01\ngroup = "g"', 1)
    wide = wide.replace("bit = 3", 'bit = 3\ngroup = "g"').replace("_max = 60", "_max = 3")
    with pytest.raises(MapError, match="'g' spans 4 words, more than words_per_request_max"):
        parse_map(wide, "acme-1.toml")


def test_the_map_in_the_readme_is_one() -> None:
    readme = (Path(drivers.meters.__file__).parent / "README.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", readme, flags=re.DOTALL)
    power = parse_map(example, "acme-1.toml").mapped(Signal.POWER_W)
    assert power is not None
    assert power.gain == pytest.approx(100.0)


def test_a_product_without_a_map_names_those_that_have_one() -> None:
    with pytest.raises(MapError, match=r"'siemens-pac42' has no map; there are: .*siemens-pac4200"):
        load_map("siemens-pac42")
    with pytest.raises(MapError, match="has no map"):
        load_map("../meters/siemens-pac4200")


def test_a_map_of_the_sites_own(tmp_path: Path) -> None:
    path = tmp_path / "acme-1.toml"
    path.write_text(GOOD)
    assert read_map_file(path) == parse_map(GOOD, str(path))
    with pytest.raises(MapError, match="cannot be read"):
        read_map_file(tmp_path / "none.toml")
    with pytest.raises(MapError, match="cannot be read"):
        read_map_file(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MapError, match="not UTF-8"):
        read_map_file(path)
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(MapError, match="larger than 262144 bytes"):
        read_map_file(path)


#  signal → wire address, function: the reference's table, typed again by hand
KNOWN = {
    "siemens-pac4200": (3, {"power_w": 65, "frequency_hz": 55, "voltage_l2_v": 3}, "W"),
    "schneider-pm5340": (3, {"power_w": 3059, "frequency_hz": 3109, "current_l3_a": 3003}, "kW"),
    "janitza-umg604": (3, {"power_w": 1369, "frequency_hz": 1439, "power_l3_w": 1337}, "W"),
    "eastron-sdm630": (4, {"power_w": 52, "frequency_hz": 70, "energy_import_wh": 72}, "W"),
}


@pytest.mark.parametrize("product", KNOWN)
def test_carried_maps_have_the_known_addresses(product: str) -> None:
    function, addresses, unit = KNOWN[product]
    one = load_map(product)
    assert one.function == function
    for name, address in addresses.items():
        mapped = one.mapped(Signal(name))
        assert mapped is not None
        assert mapped.address == address
    power = one.mapped(Signal.POWER_W)
    assert power is not None
    assert power.gain == {"W": 1.0, "kW": 1000.0}[unit]
    assert one.frozen_after_s == 10


def test_every_carried_file_loads_and_proves_itself() -> None:
    assert set(products()) >= set(KNOWN)
    for product in products():
        one: RegisterMap = load_map(product)
        assert one.product == product
        assert one.golden


@pytest.mark.parametrize("product", KNOWN)
def test_a_changed_address_does_not_pass_its_golden_frame(product: str) -> None:
    text = (config_root() / "meters" / f"{product}.toml").read_text()
    head, _, golden = text.partition("[[golden]]")
    for line in head.splitlines():
        if line.startswith("address = "):
            moved = f"address = {int(line.split()[-1], 0) + 1}"
            with pytest.raises(MapError):
                parse_map(f"{head.replace(line, moved, 1)}[[golden]]{golden}", f"{product}.toml")


def test_missing_data_names_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_root().joinpath("README.md").is_file()
    monkeypatch.setattr("drivers.data_files.CHECKOUT_FOLDER", "nowhere")
    monkeypatch.setattr("drivers.data_files.WHEEL_FOLDER", "_nowhere")
    with pytest.raises(FileNotFoundError, match=r"neither .*/nowhere nor .*/drivers/_nowhere"):
        config_root()
    monkeypatch.setattr("drivers.data_files.WHEEL_FOLDER", "meters")
    assert config_root().joinpath("load.py").is_file()
