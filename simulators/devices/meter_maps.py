"""Register maps of four three-phase meters, from the vendors' lists. Addresses are 0-based (wire).

Only what public sources confirm is mapped; any other address is refused with exception 2, as the
products do with addresses outside their lists. Quantities carry their unit in the name; phases are
L1 to L3, voltages to neutral unless `_l1_l2`.
"""

from itertools import chain

from simulators.devices.modbus import READ_HOLDING, READ_INPUT
from simulators.devices.register_image import Layout, Register

PHASES = ("_l1", "_l2", "_l3")
LINES = ("_l1_l2", "_l2_l3", "_l3_l1")

QUIET_NAN = {"f32": b"\x7f\xc0\x00\x00", "f64": b"\x7f\xf8" + bytes(6)}
SCHNEIDER_NAN = {"f32": b"\xff\xc0\x00\x00"}
"""The vendor's list gives FLOAT32 «not available» as NaN, 0xFFC00000."""


def _floats(
    address: int, quantity: str, suffixes: tuple[str, ...] = ("",), *, scale: float = 1.0
) -> tuple[Register, ...]:
    """Return float32 values that follow each other; the suffix "-" makes a reserved value."""
    return tuple(
        Register(address + 2 * index, "f32", "" if suffix == "-" else quantity + suffix, scale)
        for index, suffix in enumerate(suffixes)
    )


def _reserved(first: int, last: int) -> tuple[Register, ...]:
    """Return values of the product's list that this map does not play; they read as zero."""
    return tuple(Register(address, "f32", "") for address in range(first, last, 2))


def _layout_registers(*groups: tuple[Register, ...]) -> tuple[Register, ...]:
    return tuple(sorted(chain.from_iterable(groups), key=lambda register: register.address))


SIEMENS_PAC4200 = Layout(
    # SENTRON PAC4200 System Manual A5E02316180B, appendix A.3 Modbus, table A-1 (functions 3, 4).
    # Offsets 49-53 are «reserve». A read that begins in the second register of a value is an error.
    # Energies are doubles in Wh: 801 import tariff 1, 805 tariff 2 (zero here), 809 and 813 export.
    registers=_layout_registers(
        _floats(1, "voltage_v", PHASES),
        _floats(7, "voltage_v", LINES),
        _floats(13, "current_a", PHASES),
        _floats(19, "apparent_va", PHASES),
        _floats(25, "power_w", PHASES),
        _floats(31, "reactive_var", PHASES),
        _floats(37, "power_factor", PHASES),
        _reserved(43, 55),
        _floats(55, "frequency_hz"),
        _floats(57, "voltage_v"),
        _floats(59, "voltage_v_lines"),
        _floats(61, "current_a"),
        _floats(63, "apparent_va"),
        _floats(65, "power_w"),
        _floats(67, "reactive_var"),
        _floats(69, "power_factor"),
        (
            Register(801, "f64", "import_wh"),
            Register(805, "f64", ""),
            Register(809, "f64", "export_wh"),
            Register(813, "f64", ""),
        ),
    ),
    functions=frozenset({READ_HOLDING, READ_INPUT}),
    not_available=QUIET_NAN,
    aligned=True,
)

SCHNEIDER_PM5340 = Layout(
    # PM5100/PM5300 public register list; its 3000 is 2999 on the wire. Powers in kW, kvar, kVA.
    # The list's energy registers are not confirmed by a second source and are left out.
    registers=_layout_registers(
        _floats(2999, "current_a", PHASES),
        _reserved(3005, 3009),
        _floats(3009, "current_a"),
        _reserved(3011, 3019),
        _floats(3019, "voltage_v", LINES),
        _floats(3025, "voltage_v_lines"),
        _floats(3027, "voltage_v", PHASES),
        _reserved(3033, 3035),
        _floats(3035, "voltage_v"),
        _reserved(3037, 3053),
        _floats(3053, "power_w", PHASES, scale=0.001),
        _floats(3059, "power_w", scale=0.001),
        _floats(3061, "reactive_var", PHASES, scale=0.001),
        _floats(3067, "reactive_var", scale=0.001),
        _floats(3069, "apparent_va", PHASES, scale=0.001),
        _floats(3075, "apparent_va", scale=0.001),
        _reserved(3077, 3109),
        _floats(3109, "frequency_hz"),
    ),
    functions=frozenset({READ_HOLDING}),
    not_available=SCHNEIDER_NAN,
)

JANITZA_UMG604 = Layout(
    # UMG604 Modbus address list, «measured values 200 ms»: arrays of four floats (L1, L2, L3, N).
    # 1349-1368 are other values of the same block. Energies are Wh.
    registers=_layout_registers(
        _floats(1317, "voltage_v", (*PHASES, "-")),
        _floats(1325, "current_a", (*PHASES, "-")),
        _floats(1333, "power_w", (*PHASES, "-")),
        _floats(1341, "reactive_var", (*PHASES, "-")),
        _reserved(1349, 1369),
        _floats(1369, "power_w"),
        _floats(1371, "reactive_var"),
        _floats(1439, "frequency_hz"),
        _floats(9851, "import_wh"),
        _floats(9863, "export_wh"),
    ),
    functions=frozenset({READ_HOLDING}),
    not_available=QUIET_NAN,
)

EASTRON_SDM630 = Layout(
    # SDM630Modbus manual, section 1.2 Input registers: register 30001 is wire address 0. At most 40
    # values, 80 registers, in one request. Energies are kWh; the power factor has the sign of the
    # current. Function 3 reads settings, none here.
    registers=_layout_registers(
        _floats(0x00, "voltage_v", PHASES),
        _floats(0x06, "current_a", PHASES),
        _floats(0x0C, "power_w", PHASES),
        _floats(0x12, "apparent_va", PHASES),
        _floats(0x18, "reactive_var", PHASES),
        _floats(0x1E, "power_factor_signed", PHASES),
        _reserved(0x24, 0x2A),
        _floats(0x2A, "voltage_v"),
        _reserved(0x2C, 0x2E),
        _floats(0x2E, "current_a"),
        _floats(0x30, "current_a_sum"),
        _reserved(0x32, 0x34),
        _floats(0x34, "power_w"),
        _reserved(0x36, 0x38),
        _floats(0x38, "apparent_va"),
        _reserved(0x3A, 0x3C),
        _floats(0x3C, "reactive_var"),
        _floats(0x3E, "power_factor_signed"),
        _reserved(0x40, 0x46),
        _floats(0x46, "frequency_hz"),
        _floats(0x48, "import_wh", scale=0.001),
        _floats(0x4A, "export_wh", scale=0.001),
        _floats(0x156, "energy_wh", scale=0.001),
    ),
    functions=frozenset({READ_INPUT}),
    empty_functions=frozenset({READ_HOLDING}),
    not_available=QUIET_NAN,
    words_max=80,
)

METER_LAYOUTS: dict[str, Layout] = {
    "siemens-pac4200": SIEMENS_PAC4200,
    "schneider-pm5340": SCHNEIDER_PM5340,
    "janitza-umg604": JANITZA_UMG604,
    "eastron-sdm630": EASTRON_SDM630,
}
