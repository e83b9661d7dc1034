"""One recorded miner of each native firmware, and the driver that the registry builds for it."""

import json

import pytest

from drivers.contract.commands import AlreadySo
from drivers.contract.devices import MinerDriver
from drivers.miners.pyasic_any.messages import Values
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.registry import Wires, build_miner
from drivers.transport.memory import MemoryGrpc, MemoryHttp, MemoryTcpJson
from tests.drivers.native.native_stage import LUXOS_WRITES, Device

ANTMINER = "antminer-stock/S19Pro_49.0.1.3/"
WHATSMINER = "whatsminer-stock/M50S-VH50_20230803.11.REL/"
LUXOS = "luxos/S19kPro_2025.4.8.220305/"

TOKEN = {
    "STATUS": "S",
    "Code": 134,
    "Msg": {"time": "1234", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"},
}
DETAILS = {"STATUS": [{"STATUS": "S"}], "DEVDETAILS": [{"Model": "M50S_VH50"}]}
ATM = {
    "STATUS": [{"STATUS": "S"}],
    "ATM": [{"Enabled": True, "MaxProfile": "default", "MinProfile": ""}],
}
SESSION = {"STATUS": [{"STATUS": "S"}], "SESSION": [{"SessionID": "yJN2nlj1"}]}
LUXOS_OK = {"STATUS": [{"STATUS": "S", "Code": 335, "Msg": "sent"}]}
ROWS = {
    "summary": {"MHS 5s": 104e6, "Elapsed": 3_600},
    "temps": {"Board": 61.0, "Chip": 78.5},
    "fans": {"RPM": 4_800},
    "tunerstatus": {"ApproximateMinerPowerConsumption": 3_031, "PowerLimit": 3_068},
    "pools": {"URL": "stratum+tcp://pool.example:3333"},
}
MODELS = {
    "antminer-stock": "Antminer S19 Pro",
    "whatsminer-v2": "WhatsMiner M50S",
    "luxos": "Antminer S19k Pro",
    "braiins": "Antminer S19j Pro",
}


@pytest.fixture(params=["antminer-stock", "whatsminer-v2", "luxos", "braiins"])
def firmware(request) -> str:
    return request.param


@pytest.fixture
def device(firmware, recorded) -> Device:
    if firmware == "antminer-stock":
        return Device(
            {
                "stats": recorded(ANTMINER + "4028.stats.json"),
                "summary": recorded(ANTMINER + "4028.summary.json"),
                "get_system_info": recorded(ANTMINER + "80.cgi-bin_get_system_info.cgi.json"),
            }
        )
    if firmware == "luxos":
        names = ("config", "summary", "power", "temps", "fans", "stats", "pools", "profiles")
        replies = {name: recorded(f"{LUXOS}4028.{name}.json") for name in (*names, "version")}
        said = dict.fromkeys((*LUXOS_WRITES, "events", "logoff"), LUXOS_OK)
        said |= {"atm": ATM, "logon": SESSION, "session": SESSION}
        return Device(replies | {name: json.dumps(what).encode() for name, what in said.items()})
    if firmware == "braiins":
        ok = [{"STATUS": "S"}]
        said = {name: {"STATUS": ok, name.upper(): [row]} for name, row in ROWS.items()}
        return Device({name: json.dumps(what).encode() for name, what in said.items()})
    names = ("status", "summary", "pools", "get_version", "get_error_code")
    replies = {name: recorded(f"{WHATSMINER}4028.{name}.json") for name in names}
    replies["get_token"] = json.dumps(TOKEN).encode()
    replies["devdetails"] = json.dumps(DETAILS).encode()
    return Device(replies)


@pytest.fixture
def driver(firmware, device, device_of, clock) -> MinerDriver:
    model = MODELS[firmware]
    wires = Wires(
        tcp=MemoryTcpJson(device.tcp),
        http=MemoryHttp(device.http),
        grpc=MemoryGrpc(device.grpc),
        pyasic=MemoryPyasic(lambda _: Heard(said=Values()), lambda *_: Heard(said=AlreadySo())),
        clock=clock,
    )
    return build_miner(device_of(firmware, model), wires)
