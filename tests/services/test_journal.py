"""The journal: what is committed is loaded, for every value that the core can hold."""

import asyncio
import dataclasses
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.power.state import (
    Order,
    OrderStage,
    State,
)
from controller.site import journal as journal_module
from controller.site.journal import Batch, Event, JournalError
from tests.services.journal_bench import (
    BOOT,
    NOW,
    ROWS,
    STATE,
    opened,
    order,
    target,
)


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "journal.db"


@pytest.fixture(params=["thread", "memory"])
def journal(request, path):
    how = {"threaded": True} if request.param == "thread" else {"threaded": False}
    with opened(path if request.param == "thread" else ":memory:", **how) as made:
        yield made


async def test_a_new_journal_is_fresh(journal):
    restored = journal.load()
    assert restored.state == State()
    assert restored.inventory == ()
    assert restored.blobs == {}
    assert restored.boot_id is None
    assert restored.created_at == NOW


async def test_what_is_committed_is_loaded(journal):
    batch = Batch(at=NOW, state=STATE, changed_targets=STATE.targets, blobs={"book": b"\0\xff"})
    await journal.commit(batch)
    restored = journal.load()
    assert restored.state == STATE
    assert restored.blobs == {"book": b"\0\xff"}
    assert restored.boot_id == BOOT


async def test_it_survives_closing(path):
    with opened(path) as journal:
        await journal.commit(Batch(at=NOW, state=STATE, changed_targets=STATE.targets))
        await journal.replace_inventory(ROWS)
    later = NOW + timedelta(days=1)
    with opened(path, boot_id="another boot", now=later, threaded=False) as journal:
        restored = journal.load()
        assert (restored.state, restored.inventory) == (STATE, ROWS)
        assert (restored.boot_id, restored.created_at) == (BOOT, NOW)
        await journal.commit(Batch(at=later))
        assert journal.load().boot_id == "another boot"


async def test_targets_come_from_what_changed_and_never_from_the_state(journal):
    await journal.commit(Batch(at=NOW, state=STATE, changed_targets={"a": target(1)}))
    assert journal.load().state.targets == {"a": target(1)}
    await journal.commit(Batch(at=NOW, changed_targets={"a": target(9), "b": target(2)}))
    assert journal.load().state == dataclasses.replace(
        STATE, targets={"a": target(9), "b": target(2)}
    )
    await journal.commit(Batch(at=NOW, state=State(), changed_targets={"a": None, "c": None}))
    assert journal.load().state == State(targets={"b": target(2)})


async def test_what_a_tick_writes_does_not_grow_with_the_fleet(journal):
    fleet = {f"m{number:05}": target(number) for number in range(1_000)}
    sizes = []
    for targets in ({}, fleet):
        await journal.commit(Batch(at=NOW, state=dataclasses.replace(STATE, targets=targets)))
        sizes += journal._database.execute("SELECT length(value) FROM state").fetchone()
    assert sizes[0] == sizes[1]


async def test_orders_are_kept_for_ever_in_their_newest_form(journal):
    first, second = order("o1"), order("o2")
    await journal.commit(Batch(at=NOW, orders=(first, second)))
    done = dataclasses.replace(first, stage=OrderStage.VERIFIED, shortfall_w=0.0)
    await journal.commit(Batch(at=NOW + timedelta(seconds=1), orders=(done,)))
    assert await journal.recent_orders(10) == (done, second)
    assert await journal.recent_orders(1) == (done,)
    assert await journal.recent_orders(-1) == ()


async def test_blobs_are_replaced_and_removed(journal):
    await journal.commit(Batch(at=NOW, blobs={"a": b"1", "b": b"", "c": b"3"}))
    await journal.commit(Batch(at=NOW, blobs={"a": b"2", "c": None, "d": None}))
    assert journal.load().blobs == {"a": b"2", "b": b""}


async def test_inventory_is_replaced_whole_in_its_order(journal):
    await journal.replace_inventory(ROWS)
    assert journal.load().inventory == ROWS
    await journal.replace_inventory(ROWS[::-1][:1])
    assert journal.load().inventory == ROWS[1:]
    with pytest.raises(JournalError, match="inventory: miner m1 is listed twice"):
        await journal.replace_inventory([ROWS[0], ROWS[1], ROWS[1]])
    assert journal.load().inventory == ROWS[1:]


async def test_events_newest_first(journal):
    here = NOW.astimezone(timezone(timedelta(hours=6)))
    events = [
        Event(at=NOW, kind="armed", detail={"node": "f1", "load_w": 0.0, "who": None, "ok": True}),
        Event(at=here, kind="alarm", detail={"text": "нет связи"}),
    ]
    await journal.commit(Batch(at=NOW, events=tuple(events)))
    assert await journal.recent_events(5) == (events[1], events[0])
    assert await journal.recent_events(1) == (events[1],)


async def test_a_strangers_text_in_an_event_is_cut_and_never_fails_a_commit(journal):
    await journal.commit(
        Batch(at=NOW, events=(Event(at=NOW, kind="x", detail={"a": "\ud800", "b": "y" * 10**6}),))
    )
    (event,) = await journal.recent_events(1)
    assert event.detail == {"a": "?", "b": "y" * 999 + "…"}


async def test_naive_time_is_refused_and_nothing_is_stored(journal):
    with pytest.raises(ValueError, match="has no offset"):
        await journal.commit(Batch(at=NOW.replace(tzinfo=None), blobs={"a": b""}))
    event = Event(at=NOW.replace(tzinfo=None), kind="x")
    with pytest.raises(ValueError, match="has no offset"):
        await journal.commit(Batch(at=NOW, blobs={"a": b""}, events=(event,)))
    assert journal.load().blobs == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["baseline_w", "power_limit_w"])
async def test_what_json_cannot_hold_fails_the_whole_batch(journal, bad, name):
    """JSON would write null: an unknown number where a wrong one stood, or no reading at all."""
    batch = Batch(
        at=NOW, state=STATE, changed_targets={"m1": target(), "m2": target(**{name: bad})}
    )
    with pytest.raises(JournalError, match="target m2: would not be read back"):
        await journal.commit(batch)
    assert journal.load() == dataclasses.replace(journal.load(), state=State(), boot_id=None)


async def test_commits_are_kept_in_the_order_they_were_asked(journal):
    await asyncio.gather(
        *(
            journal.commit(Batch(at=NOW, events=(Event(at=NOW, kind="n", detail={"n": n}),)))
            for n in range(30)
        )
    )
    assert [event.detail["n"] for event in await journal.recent_events(30)] == [*range(29, -1, -1)]


async def test_a_closed_journal_says_so(journal):
    journal.close()
    journal.close()
    for act in (lambda: journal.commit(Batch(at=NOW)), lambda: journal.recent_events(1)):
        with pytest.raises(JournalError, match="the journal is closed"):
            await act()
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.load()


async def test_the_virtual_clock_needs_no_thread_and_no_file():
    """Nothing is awaited, so the order of tasks cannot depend on a thread."""
    journal = opened(":memory:", threaded=False)
    for act in (journal.commit(Batch(at=NOW, blobs={"a": b"1"})), journal.recent_events(1)):
        with pytest.raises(StopIteration):
            act.send(None)
    assert journal.load().blobs == {"a": b"1"}
    journal.close()


def values(kind):
    """Any value of a type of the core; follows new fields by itself."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.deferred(lambda: st.builds(kind, **{n: values(t) for n, t in hints.items()}))
    if origin is Mapping:
        return st.dictionaries(NAMES, values(arguments[1]), max_size=3)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if arguments:
        return st.one_of(*(values(argument) for argument in arguments))
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return SCALARS[kind]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SCALARS = {
    type(None): st.none(),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    datetime: st.datetimes(timezones=st.just(UTC)),
}


@settings(max_examples=60, deadline=None)
@given(values(State), st.lists(values(Order), unique_by=lambda o: o.order_id, max_size=3))
def test_every_state_and_order_comes_back_as_it_was(state, orders):
    batch = Batch(at=NOW, state=state, changed_targets=state.targets, orders=tuple(orders))
    with opened(":memory:", threaded=False) as journal:
        asyncio.run(journal.commit(batch))
        assert journal.load().state == state
        kept = asyncio.run(journal.recent_orders(9))
        assert {o.order_id: o for o in kept} == {o.order_id: o for o in orders}


async def test_events_are_bounded_by_number_at_the_start(path, monkeypatch):
    monkeypatch.setattr(journal_module, "EVENTS_MAX", 100)
    with opened(path) as journal:
        many = tuple(Event(at=NOW, kind="n", detail={"n": n}) for n in range(150))
        await journal.commit(Batch(at=NOW, events=many))
        assert len(await journal.recent_events(1000)) == 150
    with opened(path) as journal:
        left = [event.detail["n"] for event in await journal.recent_events(1000)]
        assert left == [*range(149, 49, -1)]


async def test_old_events_go_at_the_start_but_a_wrong_clock_leaves_the_newest(path, monkeypatch):
    monkeypatch.setattr(journal_module, "EVENTS_ALWAYS", 10)
    old, year_2099 = NOW - timedelta(days=500), NOW.replace(year=2099)
    with opened(path, now=old) as journal:
        await journal.commit(Batch(at=old, events=(Event(at=old, kind="old"),) * 20))
        await journal.commit(Batch(at=NOW, events=(Event(at=NOW, kind="new"),) * 20))
    for now, left in ((NOW, 20), (year_2099, 10)):
        with opened(path, now=now) as journal:
            kinds = [event.kind for event in await journal.recent_events(1000)]
            assert kinds == ["new"] * left
