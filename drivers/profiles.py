"""Reads what is known of firmwares and models from `firmware-configs/` into the contract's types.

    firmware-configs/miners/<firmware>/profile.toml   one FirmwareProfile
    firmware-configs/models/<make>.toml               [[model]] … one MinerModel each

An unknown key or a bad value is an error that names file, key and mend, and all files are read
before it is raised. Where the folder is: `drivers.data_files`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import msgspec

from drivers.contract.capabilities import Dynamics, FirmwareProfile, MinerModel
from drivers.data_files import FILE_BYTES_MAX, config_root

T = TypeVar("T")


class ProfileError(ValueError):
    """The configuration folder cannot be used; each line is one problem with file, key and mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _DynamicsFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    down_dead_s: float
    down_ramp_s: float
    up_dead_s: float
    up_ramp_s: float


class _ProfileFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    firmware: str
    driver: str
    reports_power: bool
    sleep_is_persistent: bool
    command_deadline_s: float
    read_deadline_s: float
    dynamics: _DynamicsFile


class _ModelEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str
    rated_power_w: float
    rated_hashrate_ths: float
    sleep_power_w: float
    source: str
    aliases: list[str] = []


class _ModelsFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    make: str
    model: list[_ModelEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Everything that is known of firmwares and models.

    `names` maps any known spelling to a model's name.
    """

    profiles: Mapping[str, FirmwareProfile]
    models: Mapping[str, MinerModel]
    names: Mapping[str, str]

    def profile(self, firmware: str) -> FirmwareProfile:
        """Return the profile of a firmware. Raises ProfileError naming those that there are."""
        try:
            return self.profiles[firmware]
        except KeyError:
            known = ", ".join(sorted(self.profiles))
            raise ProfileError(
                [f"firmware {firmware!r} is not known; use one of: {known}"]
            ) from None

    def model(self, spelling: str) -> MinerModel:
        """Return the model of that name or alias, in any case.

        Raises ProfileError naming those there are.
        """
        name = self.names.get(_folded(spelling))
        if name is None:
            known = ", ".join(sorted(self.models))
            mend = "add it to firmware-configs/models/ with its nameplate"
            raise ProfileError([f"model {spelling!r} is not known; {mend}, or use one of: {known}"])
        return self.models[name]


def load_catalogue(root: Traversable | None = None) -> Catalogue:
    """Read every profile and model under `root` (default: `config_root()`). Raises ProfileError."""
    problems: list[str] = []
    profiles: dict[str, FirmwareProfile] = {}
    models: dict[str, MinerModel] = {}
    names: dict[str, str] = {}
    try:
        root = config_root() if root is None else root
        for folder in (entry for entry in _entries(root, "miners") if entry.is_dir()):
            profile = _profile(folder.joinpath("profile.toml"), folder.name, problems)
            if profile is not None:
                profiles[profile.firmware] = profile
        for path in (entry for entry in _entries(root, "models") if entry.name.endswith(".toml")):
            _add_models(path, models, names, problems)
    except OSError as error:
        problems.append(f"{error}; install the package again")
    if not problems and not (profiles and models):
        problems.append(f"{root}: no miners/<firmware>/profile.toml or no models/<make>.toml there")
    if problems:
        raise ProfileError(problems)
    return Catalogue(profiles=profiles, models=models, names=names)


def _entries(root: Traversable, folder: str) -> list[Traversable]:
    return sorted(root.joinpath(folder).iterdir(), key=lambda entry: entry.name)


def _profile(path: Traversable, folder: str, problems: list[str]) -> FirmwareProfile | None:
    read = _parsed(path, _ProfileFile, problems)
    if read is None:
        return None
    before = len(problems)
    if read.firmware != folder:
        _note(problems, path, "firmware", f"{read.firmware!r}, but the folder is {folder!r}")
    _check_positive(problems, path, read, ("command_deadline_s", "read_deadline_s"))
    for key in ("down_dead_s", "down_ramp_s", "up_dead_s", "up_ramp_s"):
        value: float = getattr(read.dynamics, key)
        if not 0.0 <= value <= 86_400.0:
            _note(problems, path, f"dynamics.{key}", f"{value:g}; give seconds from 0 to 86400")
    if len(problems) > before:
        return None
    fields = msgspec.structs.asdict(read)
    fields["dynamics"] = Dynamics(**msgspec.structs.asdict(read.dynamics))
    return FirmwareProfile(**fields)


def _add_models(
    path: Traversable, models: dict[str, MinerModel], names: dict[str, str], problems: list[str]
) -> None:
    read = _parsed(path, _ModelsFile, problems)
    for entry in read.model if read is not None else ():
        before = len(problems)
        _check_positive(
            problems, path, entry, ("rated_power_w", "rated_hashrate_ths", "sleep_power_w")
        )
        if entry.sleep_power_w >= entry.rated_power_w:
            _note(problems, path, f"{entry.model}: sleep_power_w", "not below rated_power_w")
        if not entry.source.strip():
            _note(problems, path, f"{entry.model}: source", "empty; say where the figures are from")
        for spelling in (entry.model, *entry.aliases):
            other = names.setdefault(_folded(spelling), entry.model)
            if other != entry.model or (spelling == entry.model and entry.model in models):
                _note(problems, path, f"{entry.model}: {spelling!r}", f"is already {other!r}")
        if read is not None and len(problems) == before:
            models[entry.model] = MinerModel(
                make=read.make,
                model=entry.model,
                rated_power_w=entry.rated_power_w,
                rated_hashrate_ths=entry.rated_hashrate_ths,
                sleep_power_w=entry.sleep_power_w,
            )


def _parsed(path: Traversable, shape: type[T], problems: list[str]) -> T | None:
    try:
        content = path.read_bytes()
        if len(content) > FILE_BYTES_MAX:
            _note(problems, path, "-", f"larger than {FILE_BYTES_MAX} bytes; this is no profile")
            return None
        return msgspec.convert(tomllib.loads(content.decode()), shape)
    except (OSError, UnicodeDecodeError) as error:
        _note(problems, path, "-", f"cannot be read: {error}")
    except tomllib.TOMLDecodeError as error:
        _note(problems, path, "-", f"is not TOML: {error}")
    except msgspec.ValidationError as error:
        _note(problems, path, str(error), "compare with the other files of this folder")
    return None


def _check_positive(
    problems: list[str], path: Traversable, read: Any, keys: tuple[str, ...]
) -> None:
    for key in keys:
        value: float = getattr(read, key)
        if not 0.0 < value < 1_000_000.0:
            _note(problems, path, key, f"{value:g}; give a number above 0 (the unit is in the key)")


def _note(problems: list[str], path: Traversable, key: str, what: str) -> None:
    problems.append(f"{path}: {key}: {what}")


def _folded(spelling: str) -> str:
    return " ".join(spelling.split()).casefold()
