"""docs/treasury.md says what the treasury does: stages, policy, accounts, alarms, keys.

Made and checked as the tables of test_docs.py: NARYN_WRITE_DOCS=1 writes them anew.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.config.treasury import TreasuryFile
from controller.money.ledger import Account
from controller.money.policy import Reason
from controller.money.sweep import NEXT, Stage
from controller.treasury.alarms import TABLE, AlarmKind
from tests.architecture.test_docs import (
    KEY_HEAD,
    ROOT,
    Row,
    Table,
    _default,
    _section,
    _takes,
    block,
    made,
    shown,
    words,
)

PAGE = ROOT / "docs" / "treasury.md"


def stages() -> Iterator[Row]:
    for stage in Stage:
        yield f"`{stage}`", ", ".join(f"`{after}`" for after in Stage if after in NEXT[stage])


def alarms() -> Iterator[Row]:
    for kind in AlarmKind:
        row = TABLE[kind]
        yield f"`{kind}`", str(row.severity), row.meaning, row.mend


def keys(section: str) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        whole: dict[str, Any] = TreasuryFile.model_json_schema()
        table, _ = _section(whole["properties"][section], whole)
        assert table is not None
        for key, value in table["properties"].items():
            needed = key in table.get("required", ())
            yield f"`{key}`", _takes(value, whole), _default(value, needed=needed)

    return rows


SECTIONS = ("treasury", "node", "reserve", "sweep", "pool", "health")
TABLES = [
    Table(PAGE, "stages", ("Stage", "Next", "Meaning"), stages, 1),
    Table(PAGE, "policy", ("Reason", "What must hold"), words(Reason), 1),
    Table(PAGE, "accounts", ("Account", "What it holds"), words(Account), 1),
    Table(PAGE, "alarms", ("Alarm", "Severity", "Meaning", "What to do"), alarms),
    *(Table(PAGE, f"keys-{name}", KEY_HEAD, keys(name), 1) for name in SECTIONS),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_what_the_code_says(table: Table) -> None:
    text = made(table)
    if os.environ.get("NARYN_WRITE_DOCS"):
        page = table.page.read_text("utf-8")
        table.page.write_text(block(table).sub(lambda _: text, page), "utf-8")
    assert shown(table) == text
    assert "|  |" not in text, f"{table.name}: a cell is empty"


def test_the_collection_has_the_keys_of_the_reserve() -> None:
    assert list(keys("collection")()) == list(keys("reserve")())


def test_every_alarm_has_a_row_and_every_command_of_a_mend_exists() -> None:
    assert set(TABLE) == set(AlarmKind)
    for row in TABLE.values():
        for command in re.findall(r"`naryn treasury (\w+)", row.mend):
            assert f"`naryn treasury {command} " in PAGE.read_text("utf-8")
