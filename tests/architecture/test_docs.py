"""What our pages say is what the program does: tables, commands, links, the example site.

A table between `<!-- begin NAME -->` and `<!-- end NAME -->` is made here from the code; only its
last columns are written by people, and kept. After a wanted change, write them anew: run this file
with NARYN_WRITE_DOCS=1 in the environment, then fill the cells that are still empty.
"""

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

from controller.cli.main import app
from controller.config.load import load
from controller.config.schema import SiteFile
from controller.power.alarms import TABLE, AlarmKind
from controller.power.allocate import SkipReason
from controller.power.caps import CapClass
from controller.power.decide import Phase
from controller.power.site import DispatchPolicy, FailsafeCurve, OnMeterLoss, Policy
from controller.power.state import OnExpiry, OrderStage, TargetState

ROOT = Path(__file__).parents[2]
FOLDERS = ("controller", "docs", "drivers", "firmware-configs", "simulators", "tests")
POWER = ROOT / "controller" / "power" / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
DECISIONS = ROOT / "docs" / "decisions"

Row = tuple[str, ...]


def files(*suffixes: str) -> list[Path]:
    """Every file of ours with one of these suffixes."""
    found = [p for p in ROOT.iterdir() if p.suffix in suffixes and p.is_file()]
    for folder in FOLDERS:
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in suffixes]
    return sorted(found)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Tables


@dataclass(frozen=True)
class Table:
    """`rows` gives the cells that the code knows; the `kept` last columns are people's."""

    page: Path
    name: str
    head: Row
    rows: Callable[[], Iterable[Row]]
    kept: int = 0


def words(kind: type[Enum]) -> Callable[[], Iterator[Row]]:
    return lambda: ((f"`{member.value}`",) for member in kind)


def stages() -> Iterator[Row]:
    for stage in OrderStage:
        yield f"`{stage}`", "yes" if stage.in_force else "no"


def cap_classes() -> Iterator[Row]:
    for entry in CapClass:
        yield f"`{entry.name.lower()}`", str(entry.value)


def alarms() -> Iterator[Row]:
    for kind in AlarmKind:
        row = TABLE[kind]
        yield f"`{kind}`", str(row.severity), row.meaning, row.mend


def policy() -> Iterator[Row]:
    for kind in (Policy, DispatchPolicy, FailsafeCurve):
        for entry in fields(kind):
            value = entry.default
            if entry.type is float:
                yield f"`{entry.name}`", "–" if value is MISSING else f"{value:g}"


def constants() -> Iterator[Row]:
    """Every number with a name of its own in the modules of decisions."""
    for path in sorted(POWER.parent.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
                pairs = (
                    zip(target.elts, value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                    else [(target, value)]
                )
                for name, number in pairs:
                    if not (isinstance(name, ast.Name) and isinstance(number, ast.Constant)):
                        continue
                    if isinstance(number.value, int | float):
                        yield f"`{path.stem}.{name.id}`", f"{number.value:g}"


def schema() -> dict[str, Any]:
    return SiteFile.model_json_schema()


def sections() -> dict[str, tuple[str, dict[str, Any]]]:
    """Marker → (heading, JSON schema) of every table of `site.toml`."""
    whole = schema()
    found: dict[str, tuple[str, dict[str, Any]]] = {}

    def visit(section: dict[str, Any], above: str) -> None:
        for key, value in section["properties"].items():
            inner, is_list = _section(value, whole)
            if inner is not None:
                name = f"{above}.{key}".removeprefix(".")
                found[name] = (f"[[{name}]]" if is_list else f"[{name}]", inner)
                visit(inner, name)

    visit(whole, "")
    return found


def _section(value: dict[str, Any], whole: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The schema of the table that a key holds, and whether it holds a list of them."""
    inner = _resolved(value, whole)
    is_list = inner.get("type") == "array"
    if is_list:
        inner = _resolved(inner["items"], whole)
    return (inner, is_list) if "properties" in inner else (None, False)


def _resolved(value: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    for option in value.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolved(option, whole)
    if "$ref" in value:
        return dict(whole["$defs"][value["$ref"].rpartition("/")[2]])
    return value


def keys(section: str) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        whole, (_, table) = schema(), sections()[section]
        for key, value in table["properties"].items():
            if _section(value, whole)[0] is None:
                needed = key in table.get("required", ())
                yield f"`{key}`", _takes(value, whole), _default(value, needed=needed)

    return rows


def _default(value: dict[str, Any], *, needed: bool) -> str:
    if needed:
        return "**needed**"
    default = value.get("default")
    return "–" if default in (None, "", []) else f"`{default}`"


def _takes(value: dict[str, Any], whole: dict[str, Any]) -> str:
    found = _resolved(value, whole)
    if "enum" in found:
        return ", ".join(f"`{word}`" for word in found["enum"])
    if found.get("type") == "array":
        return f"list of: {_takes(found['items'], whole)}"
    if found.get("type") in {"number", "integer"}:
        low, above = found.get("minimum"), found.get("exclusiveMinimum")
        least = f"above {above:g}" if low is None else f"{low:g}"
        kind = "whole number" if found["type"] == "integer" else "number"
        return f"{kind}, {least} to " + f"{found['maximum']:,}".replace(",", " ")
    return {"path": "path", "time": "local time"}.get(found.get("format", ""), "text")


KEY_HEAD = ("Key", "Takes", "Default", "Meaning")
SKIPPED = ("Reason", "The miner is passed over because")
TABLES = [
    Table(POWER, "cap-classes", ("Class", "No.", "Where it comes from"), cap_classes, 1),
    Table(POWER, "on-expiry", ("`on_expiry`", "What the limit does then"), words(OnExpiry), 1),
    Table(POWER, "on-meter-loss", ("Rule", "What the node does"), words(OnMeterLoss), 1),
    Table(POWER, "target-states", ("State", "Meaning"), words(TargetState), 1),
    Table(POWER, "order-stages", ("Stage", "Limits the load", "Meaning"), stages, 1),
    Table(POWER, "phases", ("Phase", "Meaning"), words(Phase), 1),
    Table(POWER, "skip-reasons", SKIPPED, words(SkipReason), 1),
    Table(POWER, "alarms", ("Alarm", "Severity", "Meaning", "What to do"), alarms),
    Table(POWER, "policy", ("Name", "Default", "What it is", "Rests on"), policy, 2),
    Table(POWER, "constants", ("Name", "Value", "What it is", "Rests on"), constants, 2),
    *(Table(OPERATIONS, f"keys-{name}", KEY_HEAD, keys(name), 1) for name in sections()),
]


def block(table: Table) -> re.Pattern[str]:
    begin, end = f"<!-- begin {table.name} -->", f"<!-- end {table.name} -->"
    return re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)


def shown(table: Table) -> str:
    found = block(table).search(table.page.read_text("utf-8"))
    assert found is not None, f"{name_of(table.page)} has no block {table.name}"
    return found[0]


def made(table: Table) -> str:
    """The table as it should stand; people's cells are taken from the page, by the first cell."""
    old = {}
    for line in shown(table).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        old[cells[0]] = cells[len(cells) - table.kept :]
    empty = [""] * table.kept
    rows = [(*row, *(old.get(row[0], empty) if table.kept else ())) for row in table.rows()]
    lines = [table.head, ("---",) * len(table.head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_what_the_code_says(table: Table) -> None:
    text = made(table)
    if os.environ.get("NARYN_WRITE_DOCS"):
        page = table.page.read_text("utf-8")
        table.page.write_text(block(table).sub(lambda _: text, page), "utf-8")
    assert shown(table) == text
    assert "|  |" not in text, f"{name_of(table.page)}, {table.name}: a cell is empty"


# Commands, links, words

CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def commands_named(text: str) -> Iterator[list[str]]:
    """The words after `naryn` wherever code names a command."""
    for code in CODE.findall(text):
        for line in code.replace("\\\n", " ").splitlines():
            for found in re.finditer(r"(?<![\w.@-])(?<!-u )naryn +([a-z].*)", line):
                yield re.split(r"[#;|&>`)]", found[1])[0].split()


def misnamed(said: list[str]) -> str | None:
    """What does not exist in a command line; None when all of it does."""
    command: Any = typer.main.get_command(app)
    for word in (part.strip("[]") for part in said):
        known = getattr(command, "commands", None)
        if word == "…" or word.isupper():
            return None  # a placeholder stands for what follows
        if known is not None and not word.startswith("-"):
            if word not in known:
                return word
            command = known[word]
        elif word.startswith("-"):
            option = word.partition("=")[0].rstrip(",.:")
            if option not in {name for param in command.params for name in param.opts}:
                return option
    return None


@pytest.mark.parametrize("page", files(".md"), ids=name_of)
def test_commands_named_in_a_page_exist(page: Path) -> None:
    said = list(commands_named(page.read_text("utf-8")))
    assert [" ".join(line) for line in said if misnamed(line) is not None] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    text = "```\nnaryn run site.toml --fast\n```\nand `naryn fly`, `naryn keys new x --out y`."
    assert [misnamed(line) for line in commands_named(text)] == ["--fast", "fly", None]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", files(".md"), ids=name_of)
def test_relative_links_of_a_page_lead_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", CODE.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


FOREIGN = re.compile(r"/root/|/home/\w|/Users/\w")


def test_no_text_names_a_place_on_its_authors_machine() -> None:
    texts = [p for p in files(".md", ".py", ".toml") if p != Path(__file__)]
    assert len(texts) > 100
    assert [name_of(p) for p in texts if FOREIGN.search(p.read_text("utf-8"))] == []


# The example site and the decisions


def test_the_example_site_is_in_order(tmp_path: Path) -> None:
    found = re.search(r"```toml\n(\[site\].*?)```", OPERATIONS.read_text("utf-8"), re.DOTALL)
    assert found is not None
    path = tmp_path / "site.toml"
    path.write_text(found[1], "utf-8")
    config = load(path)
    assert config.file.dispatch is not None, "the example shows every table"
    assert config.file.window, "the example shows every table"
    assert config.file.login, "the example shows every table"


def test_decisions_are_numbered_whole_and_listed() -> None:
    pages = sorted(DECISIONS.glob("*.md"))
    assert [p.name[:4] for p in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    contents = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in pages:
        heads = re.findall(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
        assert heads == ["Status", "Context", "Options", "Outcome"], page.name
        assert f"(decisions/{page.name})" in contents, f"{page.name} is not listed"


def test_the_map_of_the_controller_names_every_folder() -> None:
    page = (ROOT / "controller" / "README.md").read_text("utf-8")
    named = re.findall(r"^\| \[?`(\w+)/`", page, flags=re.MULTILINE)
    assert sorted(named) == sorted(
        p.parent.name for p in (ROOT / "controller").glob("*/__init__.py")
    )
