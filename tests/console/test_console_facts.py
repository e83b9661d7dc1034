"""The plant in figures: what is known is said, and what went missing stays as a dash."""

from controller.console.facts import bad_meters, facts, miners, named
from tests.console.pictures import ALARMED, PEACE, PLC, changed
from tests.unit.cli.images import fleet


def told(image, known):
    return {fact.name: (fact.value, fact.remark) for fact in facts(image, known)}


def test_every_figure_of_the_plant():
    assert told(PEACE, named(PEACE.meters)) == {
        "Grid": ("49.987 Hz", ""),
        "Unit 1": ("6.200 MW", "gate 71 %, breaker closed"),
        "Unit 2": ("0.0 kW", "gate 0 %, breaker open"),
        "Head net": ("61.83 m", "above 1184.27, below 1122.44"),
        "Water out": ("12.4 m³/s", "in 11.9"),
        "Reservoir": ("41.30 mln m³", ""),
        "Hashrate": ("31.68 PH/s", ""),
    }


def test_a_figure_that_was_seen_stays_as_a_dash_when_its_meter_dies():
    dead = changed(PEACE, meters=[changed(PLC, signals={}, quality="bad")])
    assert set(told(dead, named(PEACE.meters))) == set(told(PEACE, named(PEACE.meters)))
    assert told(dead, named(PEACE.meters))["Unit 1"] == ("–", "")
    assert told(dead, named(PEACE.meters))["Head net"] == ("–", "above –, below –")
    assert told(dead, named(PEACE.meters))["Grid"] == ("–", "")


def test_a_plant_without_such_signals_shows_none_of_them():
    assert set(told(changed(PEACE, meters=[]), frozenset())) == {"Grid", "Hashrate"}


def test_a_feeder_whose_miners_were_not_read_is_named():
    half = changed(PEACE, fleet=[fleet("north"), fleet("south", hashrate_ths=None)])
    assert told(half, frozenset())["Hashrate"] == ("15.84 PH/s", "south unknown")
    none = changed(PEACE, fleet=[fleet("north", hashrate_ths=None)])
    assert told(none, frozenset())["Hashrate"] == ("–", "")


def test_miners_are_summed():
    total, counts = miners(changed(PEACE, fleet=[fleet("north"), fleet("south", deaf=3)]))
    assert total == 288
    assert [(c.number, c.word) for c in counts] == [(288, "running"), (3, "deaf")]


def test_a_meter_that_cannot_be_trusted_is_named_with_the_reason():
    assert bad_meters(PEACE) == []
    assert bad_meters(ALARMED) == ["north bad, read 0 s ago: no whole reply within 0.5 s"]
