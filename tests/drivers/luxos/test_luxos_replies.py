"""LuxOS: what its replies say."""

import json
from collections.abc import Callable

import pytest

from drivers.miners.cgminer import ReplyError
from drivers.miners.luxos import codec, plan
from drivers.miners.luxos.codec import Profile, Settings
from tests.drivers.luxos.luxos_stage import NO, OK, body_of

S19K = "luxos/S19kPro_2025.4.8.220305/"


@pytest.fixture
def s19k(recorded) -> Callable[..., bytes]:
    """Join recorded replies; `atm` was not recorded."""

    def join(*names: str) -> bytes:
        return body_of(**{name: json.loads(recorded(f"{S19K}4028.{name}.json")) for name in names})

    return join


def test_a_recorded_miner(s19k) -> None:
    live = codec.decode_live(s19k("config", "summary", "power", "temps", "fans", "stats"))
    assert live.settings == Settings(is_asleep=False, profile="290MHz", is_atm_on=True)
    assert live.hashrate_ths == pytest.approx(59.75606)
    assert live.power_w == 1051.0
    assert live.board_temperatures_c == (47.0, 47.0, 47.0)
    assert live.fans_rpm == (1920, 1920, 2340, 2340)
    assert live.mac == "62:F7:5E:B7:10:46"


def test_recorded_profiles_pools_and_events(s19k) -> None:
    details = codec.decode_details(s19k("pools", "profiles", "events"))
    assert details.pool_urls is not None
    assert len(details.pool_urls) == 4
    assert len(details.profiles) == 25
    assert details.profiles[4] == Profile(name="290MHz", step=-12, power_w=1188.0)
    settings = Settings(profile="290MHz", is_atm_on=False)
    assert plan.power_limit_w(settings, details.profiles) == 1188.0, "manifest: tuning target"
    assert details.faults == ("event NOPIC_PROTECTION", "event REBOOT_NOT_HASHING")


def test_that_it_sleeps_is_no_fault() -> None:
    details = codec.decode_details(body_of(events=[{"Code": "SLEEP"}, {"Code": "<b>"}]))
    assert details.faults == ()
    assert (details.pool_urls, details.profiles) == (None, ())


def test_a_part_that_fails_is_unknown() -> None:
    failed = {"STATUS": NO, "POWER": [{"Watts": 9}]}
    live = codec.decode_live(
        body_of(config=[{"CurtailMode": "None"}], summary=[{"GHS 5s": 1.0}], power=failed)
    )
    assert (live.power_w, live.fans_rpm, live.board_temperatures_c) == (None, (), ())
    assert (live.mac, live.uptime_s, live.settings.is_atm_on) == (None, None, None)


def test_without_configuration_or_rate_there_is_no_reading() -> None:
    awake, asleep = [{"CurtailMode": "None"}], [{"CurtailMode": "Sleep"}]
    for body in (
        body_of(summary=[{"GHS 5s": 1.0}]),
        body_of(config=[], summary=[{"GHS 5s": 1.0}]),
        body_of(config={"STATUS": NO}, summary=[{"GHS 5s": 1.0}]),
        body_of(config=awake),
        body_of(config=awake, summary={"STATUS": NO}),
    ):
        with pytest.raises(ReplyError):
            codec.decode_live(body)
    assert codec.decode_live(body_of(config=asleep)).settings.is_asleep is True


@pytest.mark.parametrize(
    ("said", "asleep"), [("Sleep", True), ("None", False), ("Idle", None), (None, None), (1, None)]
)
def test_curtail_modes(said, asleep) -> None:
    settings, _ = codec.decode_settings(body_of(config=[{"CurtailMode": said}]))
    assert settings.is_asleep is asleep


@pytest.mark.parametrize(
    ("stats", "celsius"),
    [
        ({"temp_chip1": "70-71-0-0", "temp_pcb1": "50-50-0-0"}, 71.0),
        ({"temp_chip1": "50-50-0-0", "temp_pcb1": "50-50-0-0"}, None),
        ({"temp_chip1": "50-50", "temp_pcb1": "50-50", "temp_chip2": "66", "temp_pcb2": "1"}, 66.0),
        ({"temp_chip1": 7, "temp_pcb1": 8}, None),
        ({}, None),
    ],
)
def test_chips_that_repeat_the_board_are_unknown(stats, celsius) -> None:
    body = body_of(config=[{"Profile": "default"}], summary=[{"Elapsed": 1}], stats=[{}, stats])
    assert codec.decode_live(body).chip_temperature_c == celsius


@pytest.mark.parametrize(
    "name", ["", "0", "3", "+1", "a,b", "a=b", "x" * 65, "a\n", "\x00", "ü", None, 5]
)
def test_a_profile_with_a_name_that_cannot_be_set_is_passed_over(name) -> None:
    rows = [{"Profile Name": name, "Watts": 900, "Step": "0"}]
    assert codec.decode_settings(body_of(config=[{"a": 1}], profiles=rows))[1] == ()


def test_a_spoofed_firmware_is_not_believed() -> None:
    row = {"Miner": "uart_trans.1.3", "LUXminer": "2024.2.19.131822-ef17c0c4"}
    body = json.dumps({"STATUS": OK, "VERSION": [row]}).encode()
    assert codec.decode_firmware_version(body) == "2024.2.19.131822"
