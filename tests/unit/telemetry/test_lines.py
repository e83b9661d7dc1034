"""Every line says what was meant, by a reader written apart; what is no value is not written."""

import math
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry.lines import (
    Form,
    Stamps,
    numbered,
    seq_of,
    tag_value,
    text_value,
    unix_ns,
)
from controller.telemetry.measurement import (
    MEASUREMENTS,
    MINER,
    SEQ,
    FieldKind,
    Measurement,
)
from tests.unit.telemetry.line_reader import read_line

NUMBERS = {
    FieldKind.FLOAT: st.floats(),
    FieldKind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    FieldKind.BOOLEAN: st.booleans(),
}
NAMES = st.one_of(st.text(min_size=1, max_size=20), st.text("ж,= \\", min_size=190, max_size=210))
TEXTS = st.one_of(st.text(max_size=20), st.text('"\\\n ж', min_size=490, max_size=510))
SEEN_AS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@st.composite
def filled(draw):
    """A measurement with values for all of it, some unknown."""
    measurement = draw(st.sampled_from(MEASUREMENTS))
    tags = [draw(st.one_of(st.just(""), NAMES)) for _ in measurement.tags]
    numbers = [draw(st.one_of(st.none(), NUMBERS[f.kind])) for f in measurement.numbers]
    texts = [draw(st.one_of(st.none(), TEXTS)) for _ in measurement.texts]
    return measurement, tags, tuple(numbers), tuple(texts)


@given(filled(), st.integers(1, 2**53), st.integers(0, 2**62))
def test_a_line_says_what_was_meant(case, seq, at_ns):
    measurement, tags, numbers, texts = case
    form = Form(measurement)
    known = {
        field.name: value
        for field, value in zip(measurement.numbers, numbers, strict=True)
        if value is not None and math.isfinite(value)
    }
    said = {
        field.name: SEEN_AS.sub(" ", value[:500])
        for field, value in zip(measurement.texts, texts, strict=True)
        if value is not None
    }
    lines = Stamps().line(form.head(*tags), form.fields(numbers, texts), at_ns)
    if not known and not said:
        assert lines == ()
        return
    (line,) = lines
    whole = numbered(line, seq)
    assert "\n" not in whole
    assert seq_of(whole.encode()) == seq
    name, got_tags, got, got_ns = read_line(whole)
    assert (name, got_ns, got.pop(SEQ.name)) == (measurement.name, at_ns, seq)
    assert got_tags == {
        key: SEEN_AS.sub(" ", value[:200]).replace("\\", "/")
        for key, value in zip(measurement.tags, tags, strict=True)
        if value
    }
    assert got.keys() == known.keys() | said.keys()
    for field in measurement.fields:
        if field.name in known and field.kind is FieldKind.FLOAT:
            assert math.isclose(got[field.name], known[field.name], rel_tol=1e-11, abs_tol=5e-324)
        elif field.name in known:
            assert got[field.name] == known[field.name]
            assert type(got[field.name]) is type(known[field.name])
        elif field.name in said:
            assert got[field.name] == said[field.name]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_left_out(value):
    form = Form(MINER)
    numbers = (value, True, *[None] * (len(MINER.numbers) - 2))
    assert form.fields(numbers, (None, None)) == "power_estimated=True"
    nothing = (value, *[None] * (len(MINER.numbers) - 1))
    assert form.fields(nothing, (None, None)) is None


def test_the_shortest_and_the_fullest_line_stand_as_the_protocol_wants_them():
    form = Form(MINER)
    head = form.head("issyk", "m,1", "north = 2", "luxos", "")
    assert head == r"miner,site=issyk,miner=m\,1,feeder=north\ \=\ 2,firmware=luxos"
    numbers = (3300.5, False, None, 110.25, True, *[None] * 4, 6000, 86400, 0, 0.125)
    fields = form.fields(numbers, ("normal", 'a "quoted" \\ fault\n'))
    assert fields == (
        "power_w=3300.5,power_estimated=False,hashrate_ths=110.25,hashing=True,fan_rpm_max=6000i,"
        'uptime_s=86400i,faults=0i,read_s=0.125,mode="normal",fault="a \\"quoted\\" \\\\ fault "'
    )


def test_values_too_many_or_too_few_are_a_fault_and_no_line():
    with pytest.raises(ValueError, match="zip"):
        Form(MINER).head("issyk")
    with pytest.raises((ValueError, TypeError)):
        Form(MINER).fields((1.0,), ("normal", "x"))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50)), max_size=40))
def test_times_of_a_series_differ_and_rise(steps):
    stamps, last = Stamps(), {}
    for head, at_ns in steps:
        ((_, given_ns),) = stamps.line(head, "v=1", at_ns)
        assert given_ns >= at_ns
        assert given_ns > last.get(head, -1)
        last[head] = given_ns


def test_a_clock_set_back_far_is_followed():
    stamps = Stamps()
    second = 1_000_000_000
    ((_, first),) = stamps.line("a", "v=1", 7200 * second)
    ((_, slowed),) = stamps.line("a", "v=1", 7190 * second)
    ((_, back),) = stamps.line("a", "v=1", 10 * second)
    assert (first, slowed, back) == (7200 * second, 7200 * second + 1, 10 * second)


def test_unix_ns_is_exact():
    at = datetime(2026, 11, 25, 3, 4, 5, 123457, tzinfo=UTC)
    assert unix_ns(at) == 1_795_575_845_123_457_000
    assert unix_ns(at.astimezone(tz=None) + timedelta(microseconds=1)) - unix_ns(at) == 1000


def test_a_line_without_its_number_has_none():
    assert seq_of(b"site,site=a v=1 17") is None
    assert seq_of(b'event,site=a text=",seq=5i 3" 17') is None


@given(st.text())
def test_escaping_alone_is_whole(text):
    assert not set("\n\r\t") & set(tag_value(text) + text_value(text))
    tag_value(text).encode()
    text_value(text).encode()


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda it: it.name)
def test_the_table_keeps_its_own_rules(measurement: Measurement):
    names = [*measurement.tags, *(field.name for field in measurement.fields)]
    assert len(set(names)) == len(names)
    assert SEQ.name not in names
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in [measurement.name, *names])
    assert measurement.fields == (*measurement.numbers, *measurement.texts), "numbers first"
    assert "time" not in names, "InfluxDB keeps that name for itself"
    assert measurement.tags[0] == "site"
