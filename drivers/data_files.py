"""Where `firmware-configs/` is: beside the drivers in a checkout, inside them in a wheel."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

CHECKOUT_FOLDER = "firmware-configs"
WHEEL_FOLDER = "_firmware_configs"
FILE_BYTES_MAX = 256 * 1024


def config_root() -> Traversable:
    """The folder that holds `meters/`, `plant/`, `models/` and `miners/`.

    Raises FileNotFoundError naming both places that were looked at.
    """
    beside = Path(__file__).parent.parent / CHECKOUT_FOLDER
    if beside.is_dir():
        return beside
    inside = files("drivers") / WHEEL_FOLDER
    if inside.is_dir():
        return inside
    raise FileNotFoundError(
        f"the drivers' data is missing: neither {beside} nor {inside} exists; "
        "install the wheel again or run from a whole checkout"
    )


def read_config(*path: str) -> str:
    """The text of one data file, e.g. `read_config("meters", "siemens-pac4200.toml")`.

    Raises FileNotFoundError when there is no such file and ValueError when it is larger than
    `FILE_BYTES_MAX` or not UTF-8.
    """
    source = config_root().joinpath(*path)
    shown = "/".join((CHECKOUT_FOLDER, *path))
    if not source.is_file():
        raise FileNotFoundError(f"{shown}: no such file")
    content = source.read_bytes()
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{shown}: {len(content)} bytes; a data file has at most {FILE_BYTES_MAX}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown}: not UTF-8 text ({error}); save it as UTF-8") from error
