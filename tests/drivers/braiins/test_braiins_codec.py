"""Messages of Braiins OS+: protobuf by field number, recorded documents, and hostile bytes.

No gRPC message was recorded as bytes. The REST interface of 25.07 sends the same messages as JSON,
so its recorded documents are encoded here by the field numbers of the vendor's proto files.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.readings import WorkMode
from drivers.miners.braiins import codec, live, protobuf
from drivers.miners.cgminer import ReplyError
from simulators.devices import protobuf as others

S19XP = "braiins-os/S19XP_25.07/80.api_v1_"


@pytest.fixture
def document(recorded) -> Callable[[str], Any]:
    return lambda name: json.loads(recorded(f"{S19XP}{name}.json"))


def details_of(said: dict[str, Any]) -> bytes:
    """A GetMinerDetailsResponse (miner.proto) out of the REST document."""
    identity, version = said["miner_identity"], said["bos_version"]
    names = {1: "brand", 2: "model", 3: "name", 4: "miner_model"}
    return others.encode(
        {
            1: said["uid"],
            2: {number: identity[name] for number, name in names.items()},
            3: said["platform"],
            4: said["bos_mode"],
            5: {1: version["current"], 2: version["major"], 3: version["bos_plus"]},
            6: said["hostname"],
            7: said["mac_address"],
            9: {1: said["sticker_hashrate"]["gigahash_per_second"]},
            10: said["bosminer_uptime_s"],
            11: said["system_uptime_s"],
            12: said["status"],
            13: said["kernel_version"],
            14: {4: said["psu_info"]["model_name"], 5: {1: 11.96}},
        }
    )


def test_details_of_the_recorded_s19_xp(document) -> None:
    details = codec.decode_details(details_of(document("miner_details")))
    assert details == codec.Details(
        make="AntMiner",
        model="Antminer S19 XP",
        firmware_version="2025-08-06-0-3881c51d-25.07-plus",
        mac="02:EE:DA:A9:B6:4A",
        serial=None,
        status="normal",
    )
    assert details.mode is WorkMode.NORMAL


@pytest.mark.parametrize(
    ("number", "status", "mode"),
    [
        (0, None, None),
        (1, "not started", None),
        (3, "paused", WorkMode.SLEEP),
        (4, "suspended", None),
        (5, "restricted", None),
        (77, None, None),
    ],
)
def test_a_status_is_a_mode_only_where_it_is_one(number, status, mode) -> None:
    details = codec.decode_details(others.encode({12: number}))
    assert (details.status, details.mode) == (status, mode)
    assert (details.model, details.mac, details.serial) == (None, None, None)


def test_target_of_the_recorded_s19_xp(document) -> None:
    tuner = document("configuration_miner")["tuner"]
    body = others.encode(
        {3: {1: tuner["enabled"], 2: tuner["tuner_mode"], 3: {1: tuner["power_target"]["watt"]}}}
    )
    assert codec.decode_target(body) == codec.Target(power_w=3031, is_obeyed=True)


@pytest.mark.parametrize(
    ("tuner", "target"),
    [
        (b"\x08\x00\x10\x01\x1a\x02\x08\x64", (100, False)),  # off
        (b"\x08\x01\x10\x02", (None, False)),  # after a hashrate
        (b"\x1a\x02\x08\x64", (100, True)),  # neither is told
        (b"\x1a\x00", (0, True)),
        (
            b"\x1a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            (None, True),
        ),  # no miner draws it
    ],
)
def test_a_target_is_obeyed_unless_the_tuner_is_off_or_after_a_hashrate(tuner, target) -> None:
    found = codec.decode_target(protobuf.encode({3: tuner}))
    assert (found.power_w, found.is_obeyed) == target


def test_a_configuration_without_a_tuner_has_no_target() -> None:
    assert codec.decode_target(b"") == codec.Target(power_w=None, is_obeyed=False)


def test_power_of_the_recorded_s19_xp(document) -> None:
    watt = document("miner_stats")["power_stats"]["approximated_consumption"]["watt"]
    assert codec.decode_power_w(others.encode({1: {1: 5}, 3: {1: {1: watt}}})) == 3137.0
    assert codec.decode_power_w(others.encode({3: {1: {}}})) == 0.0, "0 W means 0 W"
    assert codec.decode_power_w(b"") is None


def test_the_envelope_is_what_is_told() -> None:
    power = {1: {1: 3068}, 2: {1: 920}, 3: {1: 3375}}
    envelope = codec.decode_envelope(others.encode({1: {1: power}}))
    assert envelope == codec.Envelope(low_w=920, high_w=3375)
    assert [envelope.clamp(w) for w in (0, 920, 2_000, 9_999)] == [920, 920, 2_000, 3_375]
    assert codec.decode_envelope(b"").clamp(123) == 123
    with pytest.raises(ReplyError, match="above the highest"):
        codec.decode_envelope(others.encode({1: {1: {2: {1: 900}, 3: {1: 800}}}}))


def test_requests_are_what_the_proto_files_say() -> None:
    assert codec.encode_login("root", "sécret") == others.encode({1: "root", 2: "sécret"})
    assert codec.encode_power_target(2_500) == others.encode({1: 2, 2: {1: 2_500}})
    assert codec.encode_login("", "") == b""


def test_a_session_needs_a_token_that_can_be_sent() -> None:
    assert codec.decode_session(others.encode({1: "eUInGZBQ4", 2: 600})) == codec.Session(
        token="eUInGZBQ4", life_s=600
    )
    assert codec.decode_session(others.encode({1: "t"})).life_s == 3_600
    assert codec.decode_session(others.encode({1: "t", 2: 10**9})).life_s == 3_600
    assert "eUIn" not in repr(codec.Session(token="eUInGZBQ4", life_s=1))
    with pytest.raises(ReplyError, match=r"24\.04 or newer"):
        codec.decode_session(b"")
    for token in ("a b", "a\r\nx: y", "é", "t" * 513):
        with pytest.raises(ReplyError, match="printable"):
            codec.decode_session(others.encode({1: token}))


def test_what_stands_after_a_change_has_to_be_told() -> None:
    assert codec.decode_power_target(others.encode({1: {1: 2_000}})) == 2_000
    with pytest.raises(ReplyError, match="no power target"):
        codec.decode_power_target(b"")


DECODERS: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "session": (codec.decode_session, others.encode({1: "token", 2: 3_600})),
    "already": (codec.decode_already, others.encode({1: True})),
    "power target": (codec.decode_power_target, others.encode({1: {1: 3_000}})),
    "target": (codec.decode_target, others.encode({3: {1: True, 2: 1, 3: {1: 3_000}}})),
    "envelope": (codec.decode_envelope, others.encode({1: {1: {2: {1: 900}, 3: {1: 3_300}}}})),
    "details": (
        codec.decode_details,
        others.encode({2: {1: 1, 4: "S19 XP"}, 5: {1: "25.07"}, 7: "02:ee:da:a9:b6:4a", 12: 2}),
    ),
    "power": (codec.decode_power_w, others.encode({3: {1: {1: 3_137}}})),
}


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_are_a_value_within_reason_or_a_reply_error(name, data) -> None:
    decode, body = DECODERS[name]
    begin = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(begin, len(body)))
    put = data.draw(st.binary(max_size=40))
    try:
        found = decode(body[:begin] + put + body[end:])
    except ReplyError:
        return
    names = getattr(type(found), "__dataclass_fields__", None)
    values = [found] if names is None else [getattr(found, name) for name in names]
    for value in values:
        if isinstance(value, str):
            assert len(value) <= 512
            assert value.isprintable()
        elif value is not None:
            assert math.isfinite(value)
            assert 0 <= value <= 100_000


@settings(deadline=None)
@given(
    st.dictionaries(
        st.integers(1, 2**29 - 1),
        st.one_of(st.integers(0, 2**64 - 1), st.text(max_size=20), st.binary(max_size=20)),
        max_size=8,
    )
)
def test_protobuf_reads_what_it_wrote(fields) -> None:
    read = protobuf.decode(protobuf.encode(fields))
    for number, value in fields.items():
        if isinstance(value, int):
            assert (protobuf.number_at(read, number) or 0) == value
        elif isinstance(value, str):
            assert (protobuf.text_at(read, number) or "") == value
        else:
            assert read[number] == value


@pytest.mark.parametrize(
    "body",
    [
        b"\x08",  # a number that does not come
        b"\x08" + b"\xff" * 10,  # longer than 64 bits
        b"\x12\x05abc",  # cut off
        b"\x0b",  # a group
        b"\x00\x01",  # field number 0
        b"\x12\xff\xff\xff\xff\x0f",  # 4 GB announced
    ],
)
def test_no_protobuf_is_a_reply_error(body) -> None:
    with pytest.raises(ReplyError, match="not protobuf"):
        protobuf.decode(body)


def test_a_field_of_the_wrong_kind_is_a_reply_error() -> None:
    with pytest.raises(ReplyError, match="no message"):
        protobuf.message_at({1: 5}, 1)
    with pytest.raises(ReplyError, match="no number"):
        protobuf.number_at({1: b"5"}, 1)
    with pytest.raises(ReplyError, match="no text"):
        protobuf.text_at({1: 5}, 1)
    with pytest.raises(ReplyError, match="no text"):
        protobuf.text_at({1: b"\xff"}, 1)


OK = [{"STATUS": "S", "Code": 11, "Msg": "ok"}]
JOINED: dict[str, Any] = {
    "summary": [{"STATUS": OK, "SUMMARY": [{"MHS 5s": 104_000_000.0, "Elapsed": 3_600}]}],
    "temps": [
        {
            "STATUS": OK,
            "TEMPS": [{"ID": 1, "Board": 61.0, "Chip": 78.5}, {"ID": 2, "Board": 0, "Chip": 0}],
        }
    ],
    "fans": [{"STATUS": OK, "FANS": [{"RPM": 4_800}, {"RPM": "x"}, {"RPM": 0}]}],
    "tunerstatus": [
        {
            "STATUS": OK,
            "TUNERSTATUS": [{"ApproximateMinerPowerConsumption": 3_031, "PowerLimit": 3_068}],
        }
    ],
    "pools": [{"STATUS": OK, "POOLS": [{"URL": "stratum+tcp://pool.example:3333"}, {"URL": ""}]}],
    "id": 1,
}


def joined(**other: Any) -> bytes:
    return json.dumps({**JOINED, **other}).encode()


def test_a_joined_reply_is_read_whole() -> None:
    assert live.decode_live(joined()) == live.Live(
        hashrate_ths=104.0,
        uptime_s=3_600,
        power_w=3_031.0,
        power_limit_w=3_068.0,
        chip_temperature_c=78.5,
        board_temperatures_c=(61.0, None),
        fans_rpm=(4_800, 0),
        pool_urls=("stratum+tcp://pool.example:3333",),
    )
    assert live.encode_query(("a", "b")) == b'{"command":"a+b"}'


REFUSED = [{"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}], "id": 1}]


@pytest.mark.parametrize(
    "ill", [REFUSED, [], [{}], "text", [[]], [{"STATUS": OK, "FANS": {}}], [{"FANS": [1]}]]
)
def test_an_ill_part_is_a_fault_and_takes_nothing_else(ill) -> None:
    said = live.decode_live(joined(fans=ill, tunerstatus=ill))
    assert (said.hashrate_ths, said.chip_temperature_c) == (104.0, 78.5)
    assert (said.fans_rpm, said.power_w, said.power_limit_w) == ((), None, None)
    assert [fault.partition(":")[0] for fault in said.faults] == [
        "fans unreadable",
        "tunerstatus unreadable",
    ]
    assert all(len(fault) <= 200 for fault in said.faults)


def test_without_a_summary_there_is_no_reading() -> None:
    with pytest.raises(ReplyError, match="Invalid command"):
        live.decode_live(json.dumps(REFUSED[0]).encode())
    with pytest.raises(ReplyError, match="no summary"):
        live.decode_live(b"{}")
    with pytest.raises(ReplyError, match="Invalid command"):
        live.decode_live(joined(summary=REFUSED))


def test_a_miner_with_very_many_rows_is_cut_short() -> None:
    rows = [{"STATUS": OK, "FANS": [{"RPM": 1}] * 5_000}]
    assert live.decode_live(joined(fans=rows)).fans_rpm == (1,) * 16
