"""The contract's few derived values."""

import pytest

from drivers.contract.capabilities import Dynamics, MinerModel
from drivers.contract.devices import Login
from drivers.contract.errors import Busy, DeviceError, Malformed, Unreachable


def test_time_to_full_effect_is_dead_time_plus_ramp() -> None:
    antminer = Dynamics(down_dead_s=21, down_ramp_s=10, up_dead_s=45, up_ramp_s=60)
    assert antminer.down_s == 31
    assert antminer.up_s == 105


def test_efficiency_is_watts_by_terahash() -> None:
    model = MinerModel(
        make="Bitmain",
        model="Antminer S19 Pro",
        rated_power_w=3250,
        rated_hashrate_ths=110,
        sleep_power_w=30,
    )
    assert model.efficiency_jth == pytest.approx(29.545, abs=1e-3)


def test_a_password_is_not_printed() -> None:
    assert "secret" not in repr(Login(username="root", password="secret"))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (Unreachable("m1", "read summary", "no reply in 3 s", connected=True), True),
        (Busy("m1", "sleep", "updating"), True),
        (Malformed("m1", "read summary", "not JSON"), False),
    ],
)
def test_errors_name_device_and_operation(error: DeviceError, transient: bool) -> None:
    assert str(error).startswith("m1: ")
    assert error.operation in str(error)
    assert error.transient is transient
