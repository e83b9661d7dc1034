"""docs/telemetry.md says what the tables say. NARYN_WRITE_DOCS=1 writes them anew."""

import os

import pytest

from controller.telemetry.alarms import TABLE
from controller.telemetry.measurement import MEASUREMENTS
from tests.architecture.test_docs import ROOT, Table, block, made, shown

PAGE = ROOT / "docs" / "telemetry.md"


def fields(measurement):
    def rows():
        for field in measurement.fields:
            yield f"`{field.name}`", str(field.kind), field.unit or "–", field.meaning

    return rows


def alarms():
    for kind, row in TABLE.items():
        yield f"`{kind}`", str(row.severity), row.meaning, row.mend


HEAD = ("Field", "Kind", "Unit", "Meaning")
TABLES = [
    *(Table(PAGE, f"fields-{it.name}", HEAD, fields(it)) for it in MEASUREMENTS),
    Table(PAGE, "telemetry-alarms", ("Alarm", "Severity", "Meaning", "What to do"), alarms),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_what_the_code_says(table):
    text = made(table)
    if os.environ.get("NARYN_WRITE_DOCS"):
        page = PAGE.read_text("utf-8")
        PAGE.write_text(block(table).sub(lambda _: text, page), "utf-8")
    assert shown(table) == text


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda it: it.name)
def test_a_heading_says_when_and_with_which_tags(measurement):
    tags = ", ".join(f"`{tag}`" for tag in measurement.tags)
    when = measurement.when[0].upper() + measurement.when[1:]
    assert f"\n### {measurement.name}\n\n{when}. Tags: {tags}.\n" in PAGE.read_text("utf-8")
