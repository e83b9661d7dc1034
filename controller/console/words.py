"""How figures, times and states are said on the page. Pure. Unknown is a dash, never 0."""

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from math import isfinite
from typing import NamedTuple

from controller.money.amounts import btc_text

UNKNOWN = "–"
TEXT_MAX = 400
_LONG_HEX = re.compile(r"\b[0-9a-f]{40,}\b")
"""Longest text of a device, a file or a stranger that is shown; the rest is an ellipsis."""


class Said(NamedTuple):
    """How a state looks and what it means. `tone`: calm, ok, busy, warn or bad."""

    tone: str
    meaning: str


PHASES: Mapping[str, Said] = {
    "observe": Said("calm", "no feeder is armed: decided and shown, nothing commanded"),
    "lockout": Said("bad", "a lockout order is in force"),
    "failsafe": Said("bad", "the dispatcher is silent, or back and in his restart delay"),
    "ramp_down": Said("busy", "commands that lower the load are in flight"),
    "ramp_up": Said("busy", "miners are started, by ramp"),
    "recover_wait": Said("busy", "there is room for sleeping miners, but not yet for long enough"),
    "curtailed": Said("busy", "miners sleep and there is no room for them"),
    "normal": Said("ok", "every commanded miner runs"),
}
STAGES: Mapping[str, Said] = {
    "waiting": Said("busy", "its time is to come"),
    "delivering": Said("busy", "in force, not yet proved at the meters"),
    "verified": Said("ok", "proved: good meters stood under the limit"),
    "failed": Said("bad", "not under the limit when time was up; held as low as it went"),
    "released": Said("calm", "ended by the dispatcher"),
    "expired": Said("calm", "its time has passed"),
    "superseded": Said("calm", "a newer order took its place"),
}
SWEEPS: Mapping[str, Said] = {
    "proposed": Said("busy", "waits for its signature"),
    "signed": Said("busy", "signed, not yet sent"),
    "broadcast": Said("busy", "sent, waits for a block"),
    "confirmed": Said("busy", "in a block, not yet deep enough"),
    "final": Said("ok", "deep enough to stand"),
    "blocked": Said("bad", "a check refused it"),
    "stuck": Said("bad", "a coin of it is gone from the chain"),
    "abandoned": Said("calm", "given up by a person"),
}
MODES: Mapping[str, Said] = {
    "observe": Said("calm", "no feeder is armed: nothing is commanded"),
    "part_armed": Said("warn", "some feeders are commanded, others only observed"),
    "armed": Said("ok", "every feeder is commanded"),
}
SEVERITIES: Mapping[str, Said] = {
    "critical": Said("bad", "act now"),
    "warning": Said("warn", "act today"),
    "info": Said("calm", "to know"),
}
_STRANGE = Said("warn", "a state that this console does not know: upgrade it")


def said(table: Mapping[str, Said], word: str) -> Said:
    """How a state is shown; one that a newer process invented is shown too."""
    return table.get(word, _STRANGE)


def power(power_w: float | None) -> str:
    """Watts for people, as `naryn top` says them.

    >>> power(812_400.0), power(3_250_000.0), power(0.0), power(None)
    ('812.4 kW', '3.250 MW', '0.0 kW', '–')
    """
    if power_w is None or not isfinite(power_w):
        return UNKNOWN
    return f"{power_w / 1e6:.3f} MW" if abs(power_w) >= 1e6 else f"{power_w / 1e3:.1f} kW"


def hashrate(hashrate_ths: float | None) -> str:
    """TH/s for people.

    >>> hashrate(15_840.0), hashrate(None)
    ('15.84 PH/s', '–')
    """
    if hashrate_ths is None or not isfinite(hashrate_ths):
        return UNKNOWN
    return f"{hashrate_ths / 1000:.2f} PH/s"


def energy(energy_wh: float) -> str:
    """Watt-hours for people.

    >>> energy(1234.5), energy(2_500_000.0)
    ('1.2 kWh', '2.500 MWh')
    """
    return f"{energy_wh / 1e6:.3f} MWh" if energy_wh >= 1e6 else f"{energy_wh / 1e3:.1f} kWh"


def bitcoin(amount_sat: int | None) -> str:
    """Satoshis as BTC, with all eight places.

    >>> bitcoin(1), bitcoin(-2_100_000_000_000_001), bitcoin(None)
    ('0.00000001 BTC', '-21000000.00000001 BTC', '–')
    """
    return UNKNOWN if amount_sat is None else f"{btc_text(amount_sat)} BTC"


def sat(amount_sat: int | None) -> str:
    """Satoshis, thousands apart.

    >>> sat(1_234_567)
    '1 234 567 sat'
    """
    return UNKNOWN if amount_sat is None else f"{amount_sat:,} sat".replace(",", " ")


def parts(figure: str) -> tuple[str, str]:
    """A figure and its unit, to be set in two sizes.

    >>> parts("812.4 kW"), parts("–")
    (('812.4', 'kW'), ('–', ''))
    """
    number, _, unit = figure.partition(" ")
    return number, unit


def clock(at: datetime, zone: tzinfo, today: datetime | None = None) -> str:
    """Local time of the site; with the day when that is another than `today`'s.

    >>> from datetime import UTC, timedelta, timezone
    >>> at, zone = datetime(2026, 11, 22, 20, 30, 5, tzinfo=UTC), timezone(timedelta(hours=6))
    >>> clock(at, zone), clock(at, zone, at - timedelta(hours=3))
    ('02:30:05', '23 Nov 02:30:05')
    """
    local = at.astimezone(zone)
    if today is not None and today.astimezone(zone).date() != local.date():
        return f"{local.day} {local:%b %H:%M:%S}"
    return f"{local:%H:%M:%S}"


def age(age_s: float | None) -> str:
    """How long something lasts or lies back, in its two largest units.

    >>> age(12.4), age(260.0), age(7_300.0), age(200_000.0), age(None)
    ('12 s', '4 min 20 s', '2 h 1 min', '2 d 7 h', '–')
    """
    if age_s is None or not isfinite(age_s):
        return UNKNOWN
    whole_s = max(0, int(age_s))
    if whole_s < 60:
        return f"{whole_s} s"
    if whole_s < 3600:
        return f"{whole_s // 60} min {whole_s % 60} s"
    if whole_s < 86_400:
        return f"{whole_s // 3600} h {whole_s // 60 % 60} min"
    return f"{whole_s // 86_400} d {whole_s // 3600 % 24} h"


def countdown(left_s: float) -> str:
    """Time that is left.

    >>> countdown(3665.0), countdown(-1.0)
    ('1:01:05', '0:00:00')
    """
    whole_s = max(0, round(left_s))
    return f"{whole_s // 3600}:{whole_s // 60 % 60:02}:{whole_s % 60:02}"


def words(name: str) -> str:
    """An identifier of ours in words: `ramp_down` → `ramp down`; what follows a colon is left."""
    return name.partition(":")[0].replace("_", " ")


def short(hexadecimal: str) -> str:
    """Head and tail of a long hexadecimal.

    >>> short("00c0ffee" * 8)
    '00c0ffee…00c0ffee'
    """
    return hexadecimal if len(hexadecimal) <= 20 else f"{hexadecimal[:8]}…{hexadecimal[-8:]}"


def brief(sentence: str) -> str:
    """A sentence with every long hexadecimal in it shortened: transactions, blocks, keys.

    >>> brief("swept by " + "00c0ffee" * 8 + ", booked")
    'swept by 00c0ffee…00c0ffee, booked'
    """
    return _LONG_HEX.sub(lambda found: short(found[0]), sentence)


def printable(text: str) -> str:
    r"""Words of a device, a file or a stranger: one line of visible signs, at most TEXT_MAX.

    >>> printable("a\x1b[2J\nb \u202egnp")
    'a?[2J b ?gnp'
    """
    line = "".join(c if c.isprintable() else "?" for c in re.sub(r"\s", " ", text[: TEXT_MAX + 1]))
    return line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…"
