"""Reads the public keys whose signatures count here, as a table of `site.toml` lists them."""

from collections.abc import Iterable
from pathlib import Path

from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem, shown
from controller.signing import KeyFormatError, PublicKey, Role, parse_public_key

_KEY_BYTES_MAX = 4096


def read_trusted(
    config: SiteConfig,
    table: str,
    entries: Iterable[tuple[Path, str, Iterable[Role]]],
    problems: list[Problem],
) -> dict[str, PublicKey]:
    """The keys of `table` by id, each given as file, issuer and roles; adds what is wrong to
    `problems`.
    """
    keys: dict[str, PublicKey] = {}
    for index, (file, issuer, roles) in enumerate(entries, 1):
        mend = None
        try:
            with (config.folder / file).open("rb") as opened:
                raw = parse_public_key(opened.read(_KEY_BYTES_MAX))
        except OSError as error:
            mend = f"cannot be read: {error.strerror}"
        except KeyFormatError as error:
            mend = str(error)
        else:
            key = PublicKey.of(raw, issuer=issuer, roles=roles)
            if key.key_id in keys:
                mend = "this key is listed already; two signatures must be of two keys"
            keys[key.key_id] = key
        if mend is not None:
            where, value = f"{table}[{index}].file", shown(str(file))
            problems.append(Problem(file=config.path, key=where, value=value, mend=mend))
    return keys


def read_hold_keys(config: SiteConfig) -> dict[str, PublicKey]:
    """Who may sign a hold of the guard. Raises ConfigError with every key that fails."""
    problems: list[Problem] = []
    section = config.file.guard
    listed = () if section is None else section.hold_key
    entries = ((entry.file, entry.issuer, ()) for entry in listed)
    keys = read_trusted(config, "guard.hold_key", entries, problems)
    if problems:
        raise ConfigError(problems)
    return keys
