"""The picture names what is still to come."""

from datetime import time, timedelta

from controller.power.site import Window
from controller.site.picture import _planned
from tests.unit.power.toy import START, build


def test_the_next_window_is_shown_and_an_open_one_is_not() -> None:
    local = START.astimezone(build(miners=6).site.timezone)
    soon, later = (local + timedelta(hours=1)).time(), (local + timedelta(hours=2)).time()
    open_now = Window(
        window_id="now", node_id="plant", cap_w=4e5, since=time(0, 0), until=time(23, 59)
    )
    coming = Window(window_id="peak", node_id="f1", cap_w=1e5, since=soon, until=later)
    toy = build(miners=6, windows=[open_now, coming])
    toy.tick()
    shown = _planned(toy.state, toy.images[-1], toy.site)
    assert [(p.node_id, p.cap_w) for p in shown if "peak" in p.reason] == [("f1", 1e5)]
    assert all(p.begins_at > toy.images[-1].now for p in shown)
    assert shown == sorted(shown, key=lambda p: p.begins_at)
