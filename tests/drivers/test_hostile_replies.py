"""No bytes make a codec raise anything but its own error, and no value leaves its range."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.miners import cgminer
from drivers.miners.antminer_stock import codec as antminer
from drivers.miners.braiins import live as braiins
from drivers.miners.cgminer import ReplyError
from drivers.miners.luxos import codec as luxos
from drivers.miners.whatsminer_v2 import cipher
from drivers.miners.whatsminer_v2 import codec as whatsminer

RECORDED = Path(__file__).parents[1] / "fixtures" / "miners"
ANTMINER = RECORDED / "antminer-stock" / "S19Pro_49.0.1.3"
WHATSMINER = RECORDED / "whatsminer-stock" / "M50S-VH50_20230803.11.REL"
LUXOS = RECORDED / "luxos" / "S19kPro_2025.4.8.220305"

TOKEN = cipher.Token(sign="s", aes_key=bytes(32))
CONFIG = json.dumps(
    {
        "pools": [{"url": "stratum+tcp://pool.example:3333", "user": "w", "pass": "x"}],
        "bitmain-fan-ctrl": False,
        "bitmain-fan-pwm": "100",
        "bitmain-work-mode": "0",
        "miner-mode": 0,
    }
).encode()


def joined(*names: str, **more: Any) -> bytes:
    parts = {name: [json.loads((LUXOS / f"4028.{name}.json").read_bytes())] for name in names}
    return json.dumps({**parts, **more}).encode()


ATM = [{"STATUS": [{"STATUS": "S"}], "ATM": [{"MaxProfile": "+2", "PowerTarget": 3320}]}]

BRAIINS = json.dumps(
    {
        "summary": [
            {"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"MHS 5s": 104e6, "Elapsed": 3_600}]}
        ],
        "temps": [{"STATUS": [{"STATUS": "S"}], "TEMPS": [{"Board": 61.0, "Chip": 78.5}]}],
        "fans": [{"STATUS": [{"STATUS": "S"}], "FANS": [{"RPM": 4_800}]}],
        "tunerstatus": [
            {
                "STATUS": [{"STATUS": "S"}],
                "TUNERSTATUS": [{"ApproximateMinerPowerConsumption": 3_031, "PowerLimit": 3_068}],
            }
        ],
        "pools": [
            {"STATUS": [{"STATUS": "S"}], "POOLS": [{"URL": "stratum+tcp://pool.example:3333"}]}
        ],
        "id": 1,
    }
).encode()

CASES: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "antminer stats": (antminer.decode_stats, (ANTMINER / "4028.stats.json").read_bytes()),
    "antminer summary": (
        antminer.decode_summary_hashrate_ths,
        (ANTMINER / "4028.summary.json").read_bytes(),
    ),
    "antminer identity": (
        antminer.decode_identity,
        (ANTMINER / "80.cgi-bin_get_system_info.cgi.json").read_bytes(),
    ),
    "antminer configuration": (antminer.decode_config, CONFIG),
    "antminer write": (
        antminer.decode_write_reply,
        b'{"stats":"success","code":"M000","msg":"OK!"}',
    ),
    "whatsminer summary": (
        whatsminer.decode_summary,
        (WHATSMINER / "4028.summary.json").read_bytes(),
    ),
    "whatsminer status": (whatsminer.decode_status, (WHATSMINER / "4028.status.json").read_bytes()),
    "whatsminer pools": (
        whatsminer.decode_pool_urls,
        (WHATSMINER / "4028.pools.json").read_bytes(),
    ),
    "whatsminer version": (
        whatsminer.decode_firmware_version,
        (WHATSMINER / "4028.get_version.json").read_bytes(),
    ),
    "whatsminer errors": (
        whatsminer.decode_errors,
        (WHATSMINER / "4028.get_error_code.with_errors.json").read_bytes(),
    ),
    "whatsminer model": (whatsminer.decode_model, b'{"DEVDETAILS":[{"Model":"M50S_VH50"}]}'),
    "whatsminer token": (
        lambda body: cipher.derive_token(whatsminer.content(body), "admin"),
        b'{"STATUS":"S","Code":134,"Msg":{"time":"1","salt":"a","newsalt":"b"}}',
    ),
    "whatsminer answer": (
        lambda body: whatsminer.decode_answer(TOKEN, body),
        b'{"STATUS":"S","Code":131,"Msg":"API command OK"}',
    ),
    "braiins live": (braiins.decode_live, BRAIINS),
    "luxos live": (
        luxos.decode_live,
        joined("config", "summary", "power", "temps", "fans", "stats", atm=ATM),
    ),
    "luxos settings": (luxos.decode_settings, joined("config", "profiles", atm=ATM)),
    "luxos details": (luxos.decode_details, joined("pools", "profiles", "events")),
    "luxos version": (luxos.decode_firmware_version, (LUXOS / "4028.version.json").read_bytes()),
    "luxos answer": (
        luxos.decode_answer,
        b'{"STATUS":[{"STATUS":"S","Code":316}],"SESSION":[{"SessionID":"yJN2nlj1"}]}',
    ),
    "whatsminer refusal": (
        whatsminer.decode_refusal,
        b'{"STATUS":"E","Code":14,"Msg":"invalid cmd"}',
    ),
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300),
    st.floats(allow_nan=False),
    st.text(max_size=30),
    st.sampled_from(["", "nan", "inf", "-1", "1e999", "0-0-0-0", "9" * 5000, "\x00", "${jndi}"]),
    st.sampled_from([[], {}, [[]], {"a": []}]),
)


VALUES = (
    antminer.Stats,
    antminer.Identity,
    whatsminer.Summary,
    whatsminer.Status,
    braiins.Live,
    luxos.Live,
    luxos.Settings,
    luxos.Details,
    luxos.Profile,
)


def check_values(decoded: Any) -> None:
    """Every number in a decoded value is finite and within reason, every text short and
    printable."""
    if isinstance(decoded, float | int) and not isinstance(decoded, bool):
        assert math.isfinite(decoded)
        assert -1_000 <= decoded <= 1e9
    elif isinstance(decoded, str):
        assert len(decoded) <= 256
        assert decoded.isprintable()
    elif isinstance(decoded, tuple):
        assert len(decoded) <= 128
        for part in decoded:
            check_values(part)
    elif isinstance(decoded, VALUES):
        names = getattr(decoded, "__struct_fields__", None) or type(decoded).__dataclass_fields__
        for name in names:
            check_values(getattr(decoded, name))


def decoded_or_refused(decode: Callable[[bytes], Any], body: bytes) -> None:
    try:
        decoded = decode(body)
    except ReplyError:
        return
    check_values(decoded)


@pytest.mark.parametrize("case", CASES)
def test_the_unbent_reply_is_understood(case) -> None:
    decode, body = CASES[case]
    decode(body)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=60, deadline=None)
@given(body=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes(case, body) -> None:
    decoded_or_refused(CASES[case][0], body)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_cut_out_and_put_in(case, data) -> None:
    decode, body = CASES[case]
    begin = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(begin, min(len(body), begin + 40)))
    put = data.draw(st.binary(max_size=20))
    decoded_or_refused(decode, body[:begin] + put + body[end:])


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_the_place_of_another(case, data) -> None:
    decode, body = CASES[case]
    document = json.loads(body)
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                collect(node[key])

    collect(document)
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = data.draw(st.sampled_from(places))
        node[key] = data.draw(SCALARS)
    decoded_or_refused(decode, json.dumps(document).encode())


@given(value=SCALARS)
def test_a_number_is_within_its_range_or_unknown(value) -> None:
    found = cgminer.number(value, 0.0, 100.0)
    assert found is None or 0.0 <= found <= 100.0


@given(
    mode=st.sampled_from(["0", "1", "2", "3", "12"]),
    extra=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in json.loads(CONFIG)),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
            max_leaves=6,
        ),
        max_size=5,
    ),
)
def test_a_rewritten_configuration_differs_in_the_mode_only(mode, extra) -> None:
    document = extra | json.loads(CONFIG)
    config = antminer.decode_config(json.dumps(document).encode())
    written = msgspec.json.decode(antminer.encode_config(config, mode))
    for key in antminer.MODE_KEYS:
        assert str(written.pop(key)) == mode
        document.pop(key)
    if "bitmain-freq-level" in document or "freq-level" in document:
        written.pop("freq-level", None)
        document.pop("freq-level", None)
    assert written == document
