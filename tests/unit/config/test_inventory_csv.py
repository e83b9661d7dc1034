"""The inventory as CSV: what goes out comes in again, and each mistake names its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config.inventory import COLUMNS, InventoryRow, read_csv, write_csv
from controller.config.problems import ConfigError

PATH = Path("miners.csv")
FIRMWARES = {"antminer-stock", "whatsminer-v2", "luxos"}
HEADER = "miner_id,host,firmware,make,model,feeder,rack,tier,ports\r\n"
GOOD = "m1,10.0.0.1,luxos,Bitmain,S21,f1,r1,2,http=8081 rpc=14028\r\n"


def row(**how):
    values = {
        "miner_id": "m1",
        "host": "10.0.0.1",
        "firmware": "luxos",
        "make": "Bitmain",
        "model": "S21",
        "feeder": "f1",
        "rack": "r1",
        "tier": 2,
        "ports": {"http": 8081, "rpc": 14_028},
    }
    return InventoryRow(**{**values, **how})


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        read_csv(text, PATH, FIRMWARES)
    return caught.value.problems


# What goes out comes in

WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Co", "Cn"]), max_size=60
).filter(lambda text: text.isprintable() and text == text.strip())
FULL_WORDS = WORDS.filter(bool)
ROWS = st.lists(
    st.builds(
        InventoryRow,
        miner_id=FULL_WORDS,
        host=st.from_regex(r"[A-Za-z0-9:._-]{1,40}", fullmatch=True),
        firmware=st.sampled_from(sorted(FIRMWARES)),
        make=WORDS,
        model=FULL_WORDS,
        feeder=FULL_WORDS,
        rack=WORDS,
        tier=st.integers(0, 9),
        ports=st.dictionaries(
            st.sampled_from(["http", "rpc", "api", "port4"]), st.integers(1, 65_535)
        ),
    ),
    unique_by=(lambda r: r.miner_id, lambda r: r.host),
    max_size=8,
)


@given(ROWS)
def test_out_and_in_is_the_same(rows):
    text = write_csv(rows)
    assert read_csv(text, PATH, FIRMWARES) == rows
    assert write_csv(read_csv(text, PATH, FIRMWARES)) == text


def test_the_form_that_is_written():
    assert write_csv([row()]) == HEADER + GOOD
    assert write_csv([]) == HEADER
    assert HEADER.strip().split(",") == [*COLUMNS]


READ = {
    "header alone": (HEADER, []),
    "all columns": (HEADER + GOOD, [row()]),
    "line feeds only": ((HEADER + GOOD).replace("\r\n", "\n"), [row()]),
    "no line end at the end": ((HEADER + GOOD).rstrip(), [row()]),
    "a spreadsheet's mark": ("\ufeff" + HEADER + GOOD, [row()]),
    "empty lines between": (HEADER + "\r\n" + GOOD + "\r\n", [row()]),
    "spaces around cells": (HEADER + GOOD.replace(",", " , "), [row()]),
    "columns in another order": (
        "tier,feeder,model,firmware,host,miner_id\n2,f1,S21,luxos,10.0.0.1,m1\n",
        [row(make="", rack="", ports={})],
    ),
    "only what is needed": (
        "miner_id,host,firmware,model,feeder\nm1,10.0.0.1,luxos,S21,f1\n",
        [row(make="", rack="", tier=1, ports={})],
    ),
    "tier 0 is a tier": (HEADER + GOOD.replace(",2,", ",0,"), [row(tier=0)]),
    "no tier is tier 1": (HEADER + GOOD.replace(",2,", ",,"), [row(tier=1)]),
    "a comma in quotes": (
        HEADER + GOOD.replace("S21", '"S21, ""Pro"""'),
        [row(model='S21, "Pro"')],
    ),
    "one address, two ports": (
        HEADER + GOOD + GOOD.replace("m1", "m2").replace("8081", "8082"),
        [row(), row(miner_id="m2", ports={"http": 8082, "rpc": 14_028})],
    ),
}


@pytest.mark.parametrize(("text", "rows"), READ.values(), ids=READ)
def test_what_is_read(text, rows):
    assert read_csv(text, PATH, FIRMWARES) == rows


# Mistakes: a second row in place of a good one

LINES = {
    "no id": ("m1", "", "miner_id", "", "is empty; every miner needs it"),
    "spaces for an id": ("m1", "  ", "miner_id", "", "is empty; every miner needs it"),
    "no host": ("10.0.0.1", "", "host", "", "is empty"),
    "no model": ("S21", "", "model", "", "is empty"),
    "no feeder": (",f1,", ",,", "feeder", "", "is empty"),
    "host is a URL": ("10.0.0.1", "http://x/", "host", '"http://x/"', "an IP address or a host"),
    "unknown firmware": ("luxos", "vnish", "firmware", '"vnish"', "no driver has this name; see"),
    "tier is a word": (",2,", ",low,", "tier", '"low"', "must be a whole number from 0 to 9"),
    "tier 10": (",2,", ",10,", "tier", '"10"', "must be a whole number from 0 to 9"),
    "tier below 0": (",2,", ",-1,", "tier", '"-1"', "must be a whole number"),
    "tier 1.0": (",2,", ",1.0,", "tier", '"1.0"', "must be a whole number"),
    "tier in other digits": (",2,", ",٣,", "tier", '"٣"', "must be a whole number"),
    "tier of 5000 digits": (",2,", f",{'9' * 5000},", "tier", '"999', "must be a whole number"),
    "port 0": ("8081", "0", "ports", '"http=0', "write name=number, e.g. http=8081 rpc=4028"),
    "port 65536": ("8081", "65536", "ports", '"http=65536', "write name=number"),
    "port of 5000 digits": ("8081", "8" * 5000, "ports", '"http=888', "write name=number"),
    "port without a name": ("http=8081", "8081", "ports", '"8081 rpc', "write name=number"),
    "port without a number": ("http=8081", "http", "ports", '"http rpc', "write name=number"),
    "port twice": ("rpc=", "http=", "ports", '"http=8081 http=', "write name=number"),
    "too long": ("S21", "S" * 201, "model", '"SSS', "longer than 200 characters"),
    "an escape": ("S21", "S\x1b[2J", "model", r'"S\x1b[2J"', "a character that cannot be printed"),
    "a zero byte": ("S21", "S\0", "model", r'"S\x00"', "a character that cannot be printed"),
}


@pytest.mark.parametrize(("before", "after", "column", "value", "mend"), LINES.values(), ids=LINES)
def test_a_mistake_names_its_line_and_column(before, after, column, value, mend):
    assert before in GOOD
    bad = GOOD.replace(before, after, 1)
    found = {p.key: p for p in problems_of(HEADER + GOOD.replace("m1", "m0", 1) + bad)}
    problem = found[f"line 3, {column}"]
    assert problem.file == PATH
    assert problem.value.startswith(value)
    assert mend in problem.mend
    assert str(problem).startswith(f"miners.csv: line 3, {column}")


WHOLE_LINES = {
    "too few cells": (HEADER + GOOD + "m2,10.0.0.2\r\n", "line 3", "as many cells as the header"),
    "too many cells": (HEADER + GOOD.rstrip() + ",x\r\n", "line 2", "as many cells as the header"),
    "open quotes": (
        HEADER + GOOD + '"m2,10.0.0.2\r\n',
        "line 3",
        "not CSV: unexpected end of data",
    ),
    "quotes inside": (HEADER + '"m1"x,10.0.0.1\r\n', "line 2", "not CSV: "),
    "a cell without end": (HEADER + "x" * 200_000, "line 2", "not CSV: field larger than"),
    "empty": ("", "line 1", "columns are missing: miner_id, host, firmware, model, feeder"),
    "no header": (GOOD, "line 1", "columns are missing: miner_id, host, firmware, model, feeder"),
    "a column missing": (HEADER.replace("host,", ""), "line 1", "columns are missing: host"),
    "a column unknown": (HEADER.replace("rack", "shelf"), "line 1", "unknown columns; miner_id, "),
    "a column twice": (HEADER.replace("make", "host"), "line 1", "stand in the header twice"),
    "semicolons": (HEADER.replace(",", ";"), "line 1", "and commas part them"),
}


@pytest.mark.parametrize(("text", "key", "mend"), WHOLE_LINES.values(), ids=WHOLE_LINES)
def test_a_line_or_file_of_the_wrong_form(text, key, mend):
    assert any(p.key == key and mend in p.mend for p in problems_of(text))


def test_an_id_twice_and_an_address_twice_name_the_line_before():
    other = GOOD.replace("10.0.0.1", "10.0.0.2")
    (problem,) = problems_of(HEADER + GOOD + other)
    assert (problem.key, problem.value) == ("line 3, miner_id", '"m1"')
    assert problem.mend == "stands on line 2 too"
    (problem,) = problems_of(HEADER + GOOD + GOOD.replace("m1", "m2"))
    assert (problem.key, problem.mend) == ("line 3, host", "stands on line 2 too")


def test_all_mistakes_are_told_at_once_but_not_without_end():
    bad = GOOD.replace("luxos", "vnish").replace(",2,", ",x,")
    found = problems_of(HEADER + bad + GOOD.replace("m1", "m2", 1) + bad)
    assert [problem.key for problem in found] == [
        "line 2, firmware",
        "line 2, tier",
        "line 4, firmware",
        "line 4, tier",
    ]
    assert len(problems_of(HEADER + GOOD.replace("luxos", "x").replace(",2,", ",x,") * 999)) == 100


def test_more_miners_than_a_site_may_have():
    line = "m{0},h{0},luxos,,S21,f1,,,\n"
    text = HEADER + "".join(line.format(number) for number in range(100_001))
    (problem,) = problems_of(text)
    assert problem.mend == "more than 100000 miners"
