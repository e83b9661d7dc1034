"""One whole `site.toml`, and ways to spoil it."""

import pytest

from controller.config.load import load
from controller.config.problems import ConfigError

WHOLE = """
[site]
id = "kambarata"
name = "Камбар-Ата 2"
timezone = "Asia/Bishkek"
state_dir = "var/state"

[control]
tick_s = 0.5
margin_percent = 2
deadband_percent = 1.5
over_limit_percent = 3
ramp_up_mw_per_min = 6
ramp_down_mw_per_min = 30.0
min_on_s = 0
min_off_s = 45
recover_s = 12
confirm_s = 9
verify_hold_s = 6
service_s = 40
retry_s = 70

[poll]
period_s = 20
order_period_s = 4
connections_max = 64

[[node]]
id = "plant"
kind = "plant"
rating_kw = 120_000

[[node]]
id = "t1"
kind = "transformer"
parent = "plant"
rating_kw = 6_300.5
meter = "m-t1"
other_max_kw = 800

[[node]]
id = "f1"
kind = "feeder"
parent = "t1"
rating_kw = 2500
meter = "m-f1"
auxiliary_kw = 4.5
on_meter_loss = "curtail"
failsafe_kw = 100

[[node]]
id = "r1"
kind = "rack"
parent = "f1"
rating_kw = 180

[[meter]]
id = "m-t1"
map = "pac4200"
host = "10.1.0.11"

[[meter]]
id = "m-f1"
map = "sdm630"
host = "meter-f1.plant"
port = 1502
unit_id = 0
period_s = 0.5
timeout_s = 0.2

[[window]]
id = "peak"
node = "t1"
cap_kw = 0
from = 18:00:00
until = "22:30"
months = [11, 12, 1, 2]
weekdays = [0, 6]

[[window]]
id = "night"
node = "f1"
cap_kw = 1200
from = "23:00"
until = "06:00"

[dispatch]
broker_host = "mqtt.kegoc"
site_key_file = "keys/site.key"
node = "plant"
heartbeat_timeout_s = 15
hold_s = 20
decay_s = 90
failsafe_kw = 1500
restart_delay_s = 0

[[dispatch.key]]
file = "keys/kegoc.pub"
issuer = "kegoc"
roles = ["dispatch"]

[[login]]
firmware = "antminer-stock"
username = "root"
password_file = "secrets/antminer"
"""


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return load(path)


def problems_of(path, text):
    with pytest.raises(ConfigError) as caught:
        written(path, text)
    assert all(problem.file == path for problem in caught.value.problems)
    assert str(caught.value).splitlines() == [str(p) for p in caught.value.problems]
    return caught.value.problems


def without(*lines):
    text = WHOLE
    for line in lines:
        assert line + "\n" in text
        text = text.replace(line + "\n", "", 1)
    return text


def changed(before, after):
    assert WHOLE.count(before) >= 1
    return WHOLE.replace(before, after, 1)
