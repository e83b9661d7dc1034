"""`site.toml`: every mistake is named with file, key, value and mend, all at once."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config.load import load
from controller.config.problems import ConfigError, shown
from tests.unit.config.site_text import WHOLE, changed, problems_of, written


@pytest.fixture
def path(tmp_path):
    return tmp_path / "site.toml"


# Mistakes: what is changed, and the key, value and mend that must be told

NAN, INF = "nan", "inf"
NUMBER = "Input should be a valid number"
FINITE = "Input should be a finite number"
ONE = {
    "unknown section": ("[poll]", "[pool]\nx = 1\n[poll]", "pool", "{'x': 1}", "not a known key"),
    "unknown key": ("tick_s", "tikc_s", "control.tikc_s", "0.5", "not a known key; remove it or"),
    "unknown key in a list": ("other_max_kw", "other_kw", "node[2].other_kw", "800", "not a known"),
    "missing": (
        "ramp_up_mw_per_min = 6\n",
        "",
        "control.ramp_up_mw_per_min",
        "",
        "is missing; add",
    ),
    "missing in a list": ('map = "sdm630"\n', "", "meter[2].map", "", "is missing; add it"),
    "word for a number": ("= 2500", '= "2500"', "node[3].rating_kw", '"2500"', NUMBER),
    "yes for a number": ("= 2500", "= true", "node[3].rating_kw", "True", NUMBER),
    "list for a number": ("= 2500", "= [2500]", "node[3].rating_kw", "[2500]", NUMBER),
    "number for a word": ('"kambarata"', "7", "site.id", "7", "Input should be a valid string"),
    "fraction for a port": ("= 1502", "= 1502.5", "meter[2].port", "1502.5", "a valid integer"),
    "not a number": ("= 2500", f"= {NAN}", "node[3].rating_kw", NAN, FINITE),
    "minus not a number": ("tick_s = 0.5", "tick_s = -nan", "control.tick_s", NAN, FINITE),
    "infinity": ("hold_s = 20", f"hold_s = {INF}", "dispatch.hold_s", INF, FINITE),
    "beyond any number": ("min_off_s = 45", "min_off_s = 1e999", "control.min_off_s", INF, FINITE),
    "zero rating": ("= 2500", "= 0", "node[3].rating_kw", "0", "greater than 0"),
    "below zero": ("= 4.5", "= -4.5", "node[3].auxiliary_kw", "-4.5", "greater than or equal to 0"),
    "no ramp": ("_min = 6", "_min = 0", "control.ramp_up_mw_per_min", "0", "greater than 0"),
    "port too large": (
        "= 1502",
        "= 65536",
        "meter[2].port",
        "65536",
        "less than or equal to 65535",
    ),
    "month 13": ("[11, 12,", "[11, 13,", "window[1].months[2]", "13", "less than or equal to 12"),
    "weekday 7": ("[0, 6]", "[0, 7]", "window[1].weekdays[2]", "7", "less than or equal to 6"),
    "kind": ('"feeder"', '"string"', "node[3].kind", '"string"', "'plant', 'line', 'transformer'"),
    "name": ('"f1"\nkind', '"f 1"\nkind', "node[3].id", '"f 1"', "should match pattern"),
    "host": ("10.1.0.11", "http://x", "meter[1].host", '"http://x"', "should match pattern"),
    "time zone": ("Asia/Bishkek", "Asia/Osh", "site.timezone", '"Asia/Osh"', "no such time zone"),
    "time zone is a folder": ("/Bishkek", "", "site.timezone", '"Asia"', "no such time zone"),
    "no time zone": ("Asia/Bishkek", "", "site.timezone", '""', "no such time zone"),
    "time zone is a path": ('"Asia/B', '"../B', "site.timezone", '"../Bishkek"', "no such time zo"),
    "time zone too long": ("Bishkek", "B" * 300, "site.timezone", '"Asia/BBB', "no such time zone"),
    "an hour as a number": ("18:00:00", "18", "window[1].from", "18", 'quotes, such as "18:00"'),
    "25 o'clock": ('"22:30"', '"25:30"', "window[1].until", '"25:30"', 'quotes, such as "18:00"'),
    "time elsewhere": (
        '"22:30"',
        '"22:30+06"',
        "window[1].until",
        '"22:30+06"',
        "without an offset",
    ),
    "same from and until": ('"06:00"', '"23:00"', "window[2]", "", "from and until are the same"),
    "poll": (
        "order_period_s = 4",
        "order_period_s = 40",
        "poll",
        "",
        "not be longer than period_s",
    ),
    "role": ('["dispatch"]', '["king"]', "dispatch.key[1].roles[1]", '"king"', "Input should be"),
    "no role": ('["dispatch"]', "[]", "dispatch.key[1].roles", "[]", "at least 1 item"),
    "node twice": ('"r1"', '"f1"', "node.id", '"f1"', "is used 2 times; each may be used once"),
    "meter twice": ('"m-t1"\nmap', '"m-f1"\nmap', "meter.id", '"m-f1"', "is used 2 times"),
    "window twice": ('"night"', '"peak"', "window.id", '"peak"', "is used 2 times"),
    "unknown parent": (
        '"t1"\nrating',
        '"t2"\nrating',
        "node[3].parent",
        '"t2"',
        "no node has this",
    ),
    "unknown meter": ('meter = "m-t1"', 'meter = "m"', "node[2].meter", '"m"', "no [[meter]] has"),
    "window's node": ('"t1"\ncap', '"t9"\ncap', "window[1].node", '"t9"', "no node has this id"),
    "dispatch node": (
        'node = "plant"',
        'node = "x"',
        "dispatch.node",
        '"x"',
        "no node has this id",
    ),
    "feeder without a meter": (
        'meter = "m-f1"\n',
        "",
        "node[3].meter",
        '"f1"',
        "a feeder needs a meter: orders are proved at it",
    ),
    "feeder with another's meter": (
        'meter = "m-f1"',
        'meter = "m-t1"',
        "node[3].meter",
        '"m-t1"',
        "another node has this meter too; a feeder needs its own",
    ),
    "rack with a meter": (
        "rating_kw = 180",
        'rating_kw = 180\nmeter = "m-t1"',
        "node[4].meter",
        '"m-t1"',
        "a rack has no meter; make it a feeder",
    ),
    "rack not on a feeder": (
        'parent = "f1"',
        'parent = "t1"',
        "node[4].kind",
        '"rack"',
        "a rack hangs on a feeder; t1 is a transformer",
    ),
    "line on a feeder": (
        '"rack"',
        '"line"',
        "node[4].kind",
        '"line"',
        "only racks hang on a feeder; f1 is a feeder",
    ),
    "two roots": (
        'parent = "plant"\n',
        "",
        "node[2].kind",
        '"transformer"',
        "the node without a parent is the plant",
    ),
    "a second plant": (
        '"transformer"',
        '"plant"',
        "node[2].kind",
        '"plant"',
        "the plant has no parent",
    ),
}


@pytest.mark.parametrize(("before", "after", "key", "value", "mend"), ONE.values(), ids=ONE)
def test_a_mistake_is_named_with_file_key_value_and_mend(path, before, after, key, value, mend):
    found = {problem.key: problem for problem in problems_of(path, changed(before, after))}
    assert key in found, found
    assert found[key].value.startswith(value)
    assert mend in found[key].mend
    assert str(found[key]).startswith(f"{path}: {key}")


def test_a_ring_of_parents(path):
    ring = changed('parent = "plant"', 'parent = "f1"')
    found = [(p.key, p.value, p.mend) for p in problems_of(path, ring)]
    assert ("node[2].parent", '"f1"', "the parents make a ring") in found
    assert ("node[3].parent", '"t1"', "the parents make a ring") in found


def test_a_node_that_is_its_own_parent(path):
    own = changed('kind = "plant"', 'kind = "plant"\nparent = "plant"')
    assert ("node[1].parent", "the parents make a ring") in {
        (p.key, p.mend) for p in problems_of(path, own)
    }


def test_a_login_twice(path):
    login = WHOLE[WHOLE.index("[[login]]") :]
    (problem,) = problems_of(path, WHOLE + login)
    assert (problem.key, problem.value) == ("login.firmware", '"antminer-stock"')


def test_all_mistakes_are_told_at_once(path):
    text = WHOLE
    for before, after in (("= 2500", "= nan"), ("tick_s", "tikc_s"), ("Asia/Bishkek", "Mars/Base")):
        text = text.replace(before, after)
    keys = {problem.key for problem in problems_of(path, text)}
    assert keys == {"node[3].rating_kw", "control.tikc_s", "site.timezone"}
    text = WHOLE
    for before, after in (('"m-f1"\nmap', '"m-f2"\nmap'), ('node = "t1"', 'node = "t2"')):
        text = text.replace(before, after)
    assert {p.key for p in problems_of(path, text)} == {"node[3].meter", "window[1].node"}


# Not a file of ours at all

FILES = {
    "not TOML": (b"site = = 1\n", "not TOML: Invalid value (at line 1, column 8)"),
    "key twice": (b"[site]\n[site]\n", "not TOML: Cannot declare ('site',) twice (at line 2"),
    "time without seconds": (b"t = 18:00\n", "not TOML: Expected newline or end of document"),
    "not UTF-8": ('[site]\nname = "ГЭС"\n'.encode("cp1251"), "not UTF-8 at byte 15; save it as"),
    "UTF-16": ("[site]\n".encode("utf-16"), "not UTF-8 at byte 0"),
    "too large": (b"#" * (4 * 1024 * 1024 + 1), "larger than 4194304 bytes; is this the right"),
    "nested without end": (b"x = " + b"[" * 100_000, "not TOML: "),
    "a number of 5000 digits": (b"x = " + b"9" * 5_000, "not TOML: Exceeds the limit"),
    "binary": (bytes(range(256)), "not UTF-8 at byte 128"),
}


@pytest.mark.parametrize(("content", "mend"), FILES.values(), ids=FILES)
def test_what_is_no_site_file_is_named(path, content, mend):
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == (path, "file")
    assert problem.mend.startswith(mend)


def test_an_empty_file_lacks_its_sections(path):
    keys = {problem.key: problem.mend for problem in problems_of(path, "")}
    assert keys == dict.fromkeys(("site", "control", "node"), "is missing; add it")


def test_no_file_a_folder_and_one_that_may_not_be_read(path):
    for place, why in ((path, "No such file or directory"), (path.parent, "Is a directory")):
        with pytest.raises(ConfigError, match=f"{place}: file: cannot be read: {why}"):
            load(place)


def test_a_file_that_may_not_be_read(path):
    written(path, WHOLE)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # who may read everything; so be nobody for a moment
        os.seteuid(65_534)
    try:
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            load(path)
    finally:
        if root:
            os.seteuid(0)


@given(st.text(max_size=300))
def test_any_value_is_shown_in_one_short_visible_line(text):
    line = shown(text)
    assert len(line) <= 60
    assert line.isprintable()


def test_a_value_is_shown_as_people_wrote_it():
    assert shown("Камбар-Ата") == '"Камбар-Ата"'
    assert shown("a\x1b[2Jb\n") == r'"a\x1b[2Jb\n"'
    assert shown("y" * 99) == '"' + "y" * 58 + "…"
    assert (shown(0.0), shown(True), shown([1])) == ("0.0", "True", "[1]")
