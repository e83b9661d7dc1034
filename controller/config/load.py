"""Reads `site.toml` and refuses it whole, with every problem named, or returns it checked."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError

from controller.config.problems import ConfigError, Problem, shown
from controller.config.schema import NodeSection, SiteFile
from controller.power.site import (
    DispatchPolicy,
    FailsafeCurve,
    Miner,
    Node,
    NodeKind,
    Policy,
    Site,
    Window,
)

_BYTES_MAX = 4 * 1024 * 1024
_KW = 1_000.0
_MW_PER_MIN = 1_000_000.0 / 60.0

_File = TypeVar("_File", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """A checked `site.toml`; paths inside are resolved against the file's folder."""

    path: Path
    file: SiteFile

    @property
    def folder(self) -> Path:
        """Where relative paths of the file begin."""
        return self.path.parent

    @property
    def state_dir(self) -> Path:
        """The site's own folder for everything it writes."""
        return self.folder / self.file.site.state_dir

    @property
    def channel_path(self) -> Path:
        """Where `naryn run` of this site listens for consoles and command lines."""
        return self.state_dir / "run" / "site.sock"

    @property
    def guard_path(self) -> Path:
        """Where `naryn guard run` of this site listens, and everybody else finds it."""
        guard = self.file.guard
        if guard is None or guard.socket is None:
            return self.state_dir / "run" / "guard.sock"
        return self.folder / guard.socket

    @property
    def guard_dir(self) -> Path:
        """The guard's own folder for everything it writes."""
        guard = self.file.guard
        if guard is None or guard.state_dir is None:
            return self.state_dir / "guard"
        return self.folder / guard.state_dir


def load(path: Path) -> SiteConfig:
    """Read and check `path`. Raises ConfigError with every problem; nothing is half-loaded."""
    path = path.absolute()
    config = SiteConfig(path=path, file=read_toml(path, SiteFile))
    if problems := list(_crossed(config)):
        raise ConfigError(problems)
    return config


def read_toml(path: Path, form: type[_File]) -> _File:
    """Read `path` into its form. Raises ConfigError with every problem."""
    return fill(path, read_table(path), form)


def read_table(path: Path) -> dict[str, Any]:
    """The TOML in `path`, of whatever form. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([_whole(path, f"cannot be read: {error.strerror}")]) from None
    if len(raw) > _BYTES_MAX:
        raise ConfigError(
            [_whole(path, f"larger than {_BYTES_MAX} bytes; is this the right file?")]
        )
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            [_whole(path, f"not UTF-8 at byte {error.start}; save it as UTF-8")]
        ) from None
    except (ValueError, RecursionError) as error:
        # Beside its own error, tomllib lets out int()'s and the stack's on what no person writes.
        raise ConfigError([_whole(path, f"not TOML: {error}")]) from None


def fill(path: Path, table: dict[str, Any], form: type[_File]) -> _File:
    """The form filled from what was read in `path`. Raises ConfigError with every problem."""
    try:
        return form.model_validate(table)
    except ValidationError as error:
        raise ConfigError(list(_problems(path, error))) from None


def _whole(path: Path, mend: str) -> Problem:
    return Problem(file=path, key="file", value="", mend=mend)


_MENDS = {
    "missing": "is missing; add it",
    "extra_forbidden": "is not a known key; remove it or mend its spelling",
}


def _problems(path: Path, error: ValidationError) -> Iterator[Problem]:
    for found in error.errors(include_url=False):
        kind = found["type"]
        value = "" if _is_hidden(kind, found["loc"], found["input"]) else shown(found["input"])
        mend = _MENDS.get(kind, found["msg"].removeprefix("Value error, "))
        yield Problem(file=path, key=_dotted(found["loc"]), value=value, mend=mend)


_MAY_HOLD_SECRETS = {"url", "descriptor"}


def _is_hidden(kind: str, location: tuple[int | str, ...], value: object) -> bool:
    """Whether a value must not be shown: it is not there, or may hold a password or a key."""
    if kind == "extra_forbidden":
        return isinstance(value, str)
    return (
        kind == "missing" or isinstance(value, dict) or not _MAY_HOLD_SECRETS.isdisjoint(location)
    )


def _dotted(location: tuple[int | str, ...]) -> str:
    key = ""
    for part in location:
        key += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return key.removeprefix(".")


def _crossed(config: SiteConfig) -> Iterator[Problem]:
    """What only shows when sections are held against each other."""
    file = config.file
    for key, value, mend in (*_twice(file), *_tree(file), *_kinds(file), *_references(file)):
        yield Problem(file=config.path, key=key, value=shown(value), mend=mend)


def _twice(file: SiteFile) -> Iterator[tuple[str, object, str]]:
    for key, names in (
        ("node.id", [n.id for n in file.node]),
        ("meter.id", [m.id for m in file.meter]),
        ("window.id", [w.id for w in file.window]),
        ("login.firmware", [entry.firmware for entry in file.login]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield key, name, f"is used {count} times; each may be used once"


def _tree(file: SiteFile) -> Iterator[tuple[str, object, str]]:
    nodes = {node.id: node for node in file.node}
    roots = [node.id for node in file.node if node.parent is None]
    if len(roots) != 1:
        yield "node.parent", roots, "exactly one node has no parent: the plant"
    for index, node in enumerate(file.node, 1):
        if node.parent is not None and node.parent not in nodes:
            yield f"node[{index}].parent", node.parent, "no node has this id"
        elif _is_ring(node.id, nodes):
            yield f"node[{index}].parent", node.parent, "the parents make a ring"


def _kinds(file: SiteFile) -> Iterator[tuple[str, object, str]]:
    """Which kind may hang on which: nothing that feeders are summed over is counted twice."""
    nodes = {node.id: node for node in file.node}
    for index, node in enumerate(file.node, 1):
        key, kind = f"node[{index}].kind", node.kind
        parent = nodes.get(node.parent or "")
        if kind is NodeKind.PLANT and node.parent is not None:
            yield key, kind, "the plant has no parent"
        if kind is not NodeKind.PLANT and node.parent is None:
            yield key, kind, "the node without a parent is the plant"
        if parent is None:
            continue
        if kind is NodeKind.RACK and parent.kind is not NodeKind.FEEDER:
            yield key, kind, f"a rack hangs on a feeder; {parent.id} is a {parent.kind}"
        if kind is not NodeKind.RACK and parent.kind in {NodeKind.FEEDER, NodeKind.RACK}:
            yield key, kind, f"only racks hang on a feeder; {parent.id} is a {parent.kind}"


def _references(file: SiteFile) -> Iterator[tuple[str, object, str]]:
    nodes = {node.id for node in file.node}
    meters = {meter.id for meter in file.meter}
    shared = Counter(node.meter for node in file.node)
    for index, node in enumerate(file.node, 1):
        key = f"node[{index}].meter"
        if node.meter is not None and node.meter not in meters:
            yield key, node.meter, "no [[meter]] has this id"
        if node.kind is NodeKind.FEEDER and node.meter is None:
            yield key, node.id, "a feeder needs a meter: orders are proved at it"
        if node.kind is NodeKind.FEEDER and node.meter is not None and shared[node.meter] > 1:
            yield key, node.meter, "another node has this meter too; a feeder needs its own"
        if node.kind is NodeKind.RACK and node.meter is not None:
            yield key, node.meter, "a rack has no meter; make it a feeder"
    for index, window in enumerate(file.window, 1):
        if window.node not in nodes:
            yield f"window[{index}].node", window.node, "no node has this id"
    if file.dispatch is not None and file.dispatch.node not in nodes:
        yield "dispatch.node", file.dispatch.node, "no node has this id"


def _is_ring(name: str, nodes: Mapping[str, NodeSection]) -> bool:
    seen: set[str] = set()
    at: str | None = name
    while at is not None and at in nodes:
        if at in seen:
            return True
        seen.add(at)
        at = nodes[at].parent
    return False


def build_site(config: SiteConfig, miners: dict[str, Miner]) -> Site:
    """The site as decisions see it, in W and seconds. Raises ValueError when a miner does not fit
    the tree.
    """
    file, control = config.file, config.file.control
    return Site(
        site_id=file.site.id,
        timezone=ZoneInfo(file.site.timezone),
        nodes={
            node.id: Node(
                node_id=node.id,
                kind=node.kind,
                parent=node.parent,
                rating_w=node.rating_kw * _KW,
                meter_id=node.meter,
                auxiliary_w=node.auxiliary_kw * _KW,
                other_max_w=node.other_max_kw * _KW,
                on_meter_loss=node.on_meter_loss,
                failsafe_w=node.failsafe_kw * _KW,
            )
            for node in file.node
        },
        miners=miners,
        policy=Policy(
            tick_s=control.tick_s,
            margin=control.margin_percent / 100,
            deadband=control.deadband_percent / 100,
            over_limit=control.over_limit_percent / 100,
            ramp_up_w_per_s=control.ramp_up_mw_per_min * _MW_PER_MIN,
            ramp_down_w_per_s=control.ramp_down_mw_per_min * _MW_PER_MIN,
            min_on_s=control.min_on_s,
            min_off_s=control.min_off_s,
            recover_s=control.recover_s,
            confirm_s=control.confirm_s,
            verify_hold_s=control.verify_hold_s,
            service_s=control.service_s,
            retry_s=control.retry_s,
        ),
        windows=tuple(
            Window(
                window_id=window.id,
                node_id=window.node,
                cap_w=window.cap_kw * _KW,
                since=window.since,
                until=window.until,
                months=frozenset(window.months),
                weekdays=frozenset(window.weekdays),
            )
            for window in file.window
        ),
        dispatch=_dispatch_policy(file),
    )


def _dispatch_policy(file: SiteFile) -> DispatchPolicy | None:
    if file.dispatch is None:
        return None
    return DispatchPolicy(
        node_id=file.dispatch.node,
        heartbeat_timeout_s=file.dispatch.heartbeat_timeout_s,
        curve=FailsafeCurve(
            hold_s=file.dispatch.hold_s,
            decay_s=file.dispatch.decay_s,
            value_w=file.dispatch.failsafe_kw * _KW,
        ),
        restart_delay_s=file.dispatch.restart_delay_s,
    )
