"""What is known of firmwares and models, and how a mistake in it is told."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.contract.errors import Unsupported
from drivers.data_files import config_root
from drivers.profiles import ProfileError, load_catalogue
from drivers.registry import MINERS, Wires, build_miner, drives_by_pyasic


def test_every_firmware_has_a_driver_and_every_driver_a_profile(catalogue) -> None:
    assert set(catalogue.profiles) == set(MINERS)
    drivers = {
        path.parent.name
        for path in (Path(config_root().parent) / "drivers").glob("miners/*/driver.py")
    }
    assert {profile.driver for profile in catalogue.profiles.values()} == drivers


def test_native_firmwares_need_no_pyasic(catalogue) -> None:
    for profile in catalogue.profiles.values():
        assert drives_by_pyasic(profile.firmware) == (profile.driver == "pyasic_any")
    assert not drives_by_pyasic("unknown")


def test_the_stock_antminer_has_time_for_its_write(catalogue) -> None:
    profile = catalogue.profile("antminer-stock")
    assert profile.command_deadline_s >= 35.0 + profile.read_deadline_s
    assert not profile.reports_power
    assert profile.sleep_is_persistent
    assert profile.dynamics.down_dead_s >= 21.0


@pytest.mark.parametrize(
    ("spelling", "model", "power_w", "efficiency_jth"),
    [
        ("Antminer S19 Pro", "Antminer S19 Pro", 3250, 29.5),
        ("antminer  s19 pro", "Antminer S19 Pro", 3250, 29.5),
        ("Antminer S19 XP", "Antminer S19 XP", 3010, 21.5),
        ("Antminer S21", "Antminer S21", 3500, 17.5),
        ("Antminer S21 Pro", "Antminer S21 Pro", 3510, 15.0),
        ("Antminer S19j Pro", "Antminer S19j Pro", 3068, 29.5),
        ("Antminer S19K Pro", "Antminer S19k Pro", 2760, 23.0),
        ("M30S++ VH50", "WhatsMiner M30S++", 3472, 31.0),
        ("WhatsMiner M50S", "WhatsMiner M50S", 3276, 26.0),
        ("WhatsMiner M53S", "WhatsMiner M53S", 6760, 26.0),
        ("WhatsMiner M56S", "WhatsMiner M56S", 5550, 26.2),
        ("M60S VK40", "WhatsMiner M60S", 3441, 18.5),
        ("WhatsMiner M63", "WhatsMiner M63", 6646, 19.9),
    ],
)
def test_models(catalogue, spelling, model, power_w, efficiency_jth) -> None:
    found = catalogue.model(spelling)
    assert (found.model, found.rated_power_w) == (model, power_w)
    assert found.efficiency_jth == pytest.approx(efficiency_jth, abs=0.06)
    assert 0 < found.sleep_power_w < 100


def test_unknown_names_are_told_with_the_known_ones(catalogue, device_of) -> None:
    with pytest.raises(
        ProfileError, match="'S99' is not known; add it to firmware-configs/models/"
    ):
        catalogue.model("S99")
    with pytest.raises(ProfileError, match="'stock' is not known; use one of: antminer-stock"):
        catalogue.profile("stock")


def test_a_firmware_without_a_driver_is_unsupported(catalogue, device_of) -> None:
    device = device_of("luxos", "Antminer S21")
    device = replace(device, profile=replace(device.profile, firmware="vnish"))
    with pytest.raises(
        Unsupported, match="no driver for firmware 'vnish'; use one of: antminer-stock"
    ):
        build_miner(device, Wires(tcp=None, http=None, grpc=None, pyasic=None, clock=None))


@pytest.fixture
def root(tmp_path) -> Path:
    shutil.copytree(config_root(), tmp_path / "firmware-configs")
    return tmp_path / "firmware-configs"


LUXOS = "miners/luxos/profile.toml"
MODELS = "models/antminer.toml"
MISTAKES = [
    # file, what stands there, what stands there instead, what the error says
    (
        LUXOS,
        "reports_power = true",
        "reports_power = 1",
        "Expected `bool`, got `int` - at `$.reports_power`",
    ),
    (LUXOS, "reports_power", "report_power", "unknown field `report_power`"),
    (
        LUXOS,
        "down_dead_s = 1.0",
        "down_dead_s = -1.0",
        "dynamics.down_dead_s: -1; give seconds from 0",
    ),
    (LUXOS, "down_dead_s = 1.0", "down_dead_s = nan", "dynamics.down_dead_s: nan"),
    (LUXOS, "down_dead_s = 1.0\n", "", "missing required field `down_dead_s`"),
    (LUXOS, 'firmware = "luxos"', 'firmware = "lux"', "'lux', but the folder is 'luxos'"),
    (
        LUXOS,
        "read_deadline_s = 5.0",
        "read_deadline_s = 0",
        "read_deadline_s: 0; give a number above 0",
    ),
    (LUXOS, "[dynamics]", "[dynamics", "is not TOML"),
    (MODELS, "rated_power_w = 3250.0", 'rated_power_w = "3250"', "Expected `float`, got `str`"),
    (
        MODELS,
        "sleep_power_w = 60.0",
        "sleep_power_w = 9999.0",
        "sleep_power_w: not below rated_power_w",
    ),
    (MODELS, "sleep_power_w = 60.0", "sleep_w = 60.0", "unknown field `sleep_w`"),
    (MODELS, 'aliases = ["S19 XP"]', 'aliases = ["S21"]', "is already"),
    (MODELS, "Bitmain, S21 200T: 200 TH/s, 17.5 J/TH", " ", "source: empty; say where"),
]


@pytest.mark.parametrize(("file", "before", "after", "said"), MISTAKES)
def test_a_mistake_is_told_with_file_key_and_mend(root, file, before, after, said) -> None:
    path = root / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(ProfileError) as caught:
        load_catalogue(root)
    assert str(path) in caught.value.problems[0]
    assert said in caught.value.problems[0]


def test_all_mistakes_are_told_at_once(root) -> None:
    (root / LUXOS).write_text("")
    (root / "miners/braiins/profile.toml").write_bytes(b"\xff")
    (root / MODELS).write_text("x" * 2_000_000)
    with pytest.raises(ProfileError) as caught:
        load_catalogue(root)
    assert len(caught.value.problems) == 3


def test_an_empty_folder_is_told(tmp_path) -> None:
    with pytest.raises(ProfileError, match="miners"):
        load_catalogue(tmp_path)
    (tmp_path / "miners").mkdir()
    (tmp_path / "models").mkdir()
    with pytest.raises(ProfileError, match="no miners/<firmware>/profile"):
        load_catalogue(tmp_path)
