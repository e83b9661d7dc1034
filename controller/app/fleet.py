"""Joins the inventory with nameplates and firmware profiles, for decisions and for drivers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.config.inventory import InventoryRow
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem, shown
from controller.dispatch.secret_files import SecretFileError, read_secret
from controller.power.site import Miner, NodeKind
from drivers.contract.devices import Login, MinerDevice
from drivers.profiles import Catalogue, ProfileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The same miners twice: as decisions see them, and as drivers need them."""

    rows: Mapping[str, InventoryRow]
    miners: Mapping[str, Miner]
    devices: Mapping[str, MinerDevice]


def build_fleet(rows: Iterable[InventoryRow], config: SiteConfig, catalogue: Catalogue) -> Fleet:
    """Join every row. Raises ConfigError with every row that fits neither site nor catalogue."""
    logins = read_logins(config)
    miners, devices, kept = {}, {}, {}
    problems: list[Problem] = []
    for row in rows:
        found = [*_misplaced(row, config)]
        try:
            profile, model = catalogue.profile(row.firmware), catalogue.model(row.model)
        except ProfileError as error:
            problems += [
                *found,
                *(_problem(config, row, "model", row.model, line) for line in error.problems),
            ]
            continue
        problems += found
        kept[row.miner_id] = row
        miners[row.miner_id] = Miner(
            miner_id=row.miner_id,
            node_id=row.rack if row.rack in _racks(row.feeder, config) else row.feeder,
            tier=row.tier,
            firmware=row.firmware,
            rated_power_w=model.rated_power_w,
            rated_hashrate_ths=model.rated_hashrate_ths,
            sleep_power_w=model.sleep_power_w,
            dynamics=profile.dynamics,
        )
        devices[row.miner_id] = MinerDevice(
            miner_id=row.miner_id,
            host=row.host,
            profile=profile,
            model=model,
            login=logins.get(row.firmware),
            ports=row.ports,
        )
    if problems:
        raise ConfigError(problems)
    return Fleet(rows=kept, miners=miners, devices=devices)


def _misplaced(row: InventoryRow, config: SiteConfig) -> Iterable[Problem]:
    nodes = {node.id: node for node in config.file.node}
    feeder = nodes.get(row.feeder)
    if feeder is None or feeder.kind is not NodeKind.FEEDER:
        feeders = [name for name, node in nodes.items() if node.kind is NodeKind.FEEDER]
        mend = f"no feeder has this id; feeders are {', '.join(feeders)}"
        yield _problem(config, row, "feeder", row.feeder, mend)
    racks = _racks(row.feeder, config)
    if row.rack and racks and row.rack not in racks:
        mend = f"{row.feeder} has racks with limits, and this is none of them: {', '.join(racks)}"
        yield _problem(config, row, "rack", row.rack, mend)


def _racks(feeder: str, config: SiteConfig) -> list[str]:
    """Racks of a feeder that have a limit of their own; a rack without one is a place to look."""
    return [
        node.id for node in config.file.node if node.kind is NodeKind.RACK and node.parent == feeder
    ]


def _problem(config: SiteConfig, row: InventoryRow, column: str, value: str, mend: str) -> Problem:
    return Problem(
        file=config.path.with_name("inventory"),
        key=f"miner {row.miner_id}, {column}",
        value=shown(value),
        mend=mend,
    )


def read_logins(config: SiteConfig) -> dict[str, Login]:
    """Credentials by firmware. Raises ConfigError with every password file that cannot be read."""
    logins, problems = {}, []
    for index, login in enumerate(config.file.login, 1):
        path = config.folder / login.password_file
        try:
            password = read_secret(path).decode("utf-8").strip()
        except (SecretFileError, UnicodeDecodeError) as error:
            problems.append(
                Problem(
                    file=config.path,
                    key=f"login[{index}].password_file",
                    value=shown(str(login.password_file)),
                    mend=str(error),
                )
            )
            continue
        logins[login.firmware] = Login(username=login.username, password=password)
    if problems:
        raise ConfigError(problems)
    return logins
