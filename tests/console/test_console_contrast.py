"""Every word can be read: at least 4.5 to 1 on every ground, by day, by night, and while stale."""

import re
from importlib.resources import files
from itertools import product

import pytest

CSS = (files("controller.console") / "static" / "console.css").read_text(encoding="utf-8")
THEMES = dict(
    zip(
        ("dark", "light"),
        [
            dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6});", block))
            for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
        ],
        strict=True,
    )
)
INKS = ("text", "quiet", "accent", "ok", "busy", "warn", "bad")
GROUNDS = ("ground", "panel", "raised")
STALE = float(re.search(r"\.stale #head.*?opacity: ([.\d]+);", CSS, re.DOTALL)[1])


def channels(colour):
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(ink, ground):
    low, high = sorted((luminance(ink), luminance(ground)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("ink", "ground"), list(product(INKS, GROUNDS)))
def test_words_can_be_read(theme, ink, ground):
    colours = THEMES[theme]
    assert contrast(channels(colours[ink]), channels(colours[ground])) >= 4.5


def grey(rgb):
    """What the filter grayscale(1) makes of a colour."""
    return [sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), rgb, strict=True))] * 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ink", INKS)
def test_words_can_be_read_while_stale(theme, ink):
    colours = THEMES[theme]
    behind = channels(colours["ground"])

    def faded(colour):
        return [
            STALE * c + (1 - STALE) * b for c, b in zip(grey(channels(colour)), behind, strict=True)
        ]

    for hatch in ("panel", "ground"):
        assert contrast(faded(colours[ink]), faded(colours[hatch])) >= 4.5


@pytest.mark.parametrize("state", ["#link stale", "banner"])
def test_the_words_that_say_stale_can_be_read(state):
    for colours in THEMES.values():
        if state == "banner":
            assert contrast(channels("#201400"), channels("#e3a72f")) >= 4.5
        else:
            assert contrast(channels(colours["ground"]), channels(colours["warn"])) >= 4.5
