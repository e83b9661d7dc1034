"""Nameplates of miner models and the tempo of firmwares, as the vendors and the field state them.

Where no source gives a figure, it is marked as the simulator's own assumption.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerRating:
    """Nameplate of one model. `sleep_power_w`: control board, fans and supply with the hashboards
    off.

    `level_min` is the lowest share of full power to which firmwares throttle the model; below it
    there is only sleep.
    """

    make: str
    model: str
    power_w: float
    hashrate_ths: float
    boards: int
    chips: int
    """Chips on one board."""
    fans: int
    sleep_power_w: float
    level_min: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareTimings:
    """Dead time and linear ramp of a firmware's answers, in seconds.

    `down_*` to sleep, `up_*` to full power from sleep, `limit_*` a lasting power limit, `scale_*` a
    temporary percentage. `restart_dead_s`: hashboards off between stop and start of the mining
    process. `boot_s`: the whole control board.
    """

    down_dead_s: float
    down_ramp_s: float
    up_dead_s: float
    up_ramp_s: float
    limit_dead_s: float
    limit_ramp_s: float
    limit_restarts: bool
    restart_dead_s: float
    boot_s: float
    scale_dead_s: float = 0.3
    scale_ramp_s: float = 1.0


ANTMINER_CONFIG_WRITE_S = 21.0
"""`set_miner_conf.cgi` answers after about 21 s and before the reload (asic-rs pull requests 249
and 251)."""

TIMINGS: dict[str, FirmwareTimings] = {
    # Configuration write: source above. The restart afterwards has no published figure («plan for
    # minutes»): 24 s without hashing and 45 s of ramp are assumptions of the simulator.
    "antminer-stock": FirmwareTimings(
        down_dead_s=ANTMINER_CONFIG_WRITE_S,
        down_ramp_s=2.0,
        up_dead_s=ANTMINER_CONFIG_WRITE_S + 24.0,
        up_ramp_s=45.0,
        limit_dead_s=ANTMINER_CONFIG_WRITE_S,
        limit_ramp_s=45.0,
        limit_restarts=True,
        restart_dead_s=24.0,
        boot_s=60.0,
    ),
    # power_off cuts the hashboards (API manual); full load in less than a minute with Power Fast
    # Boot (HashSource/WhatsMiner_Curtailment); set_power_pct takes about 1 s; the split in dead
    # time and ramp is assumed.
    "whatsminer-v2": FirmwareTimings(
        down_dead_s=1.0,
        down_ramp_s=1.0,
        up_dead_s=15.0,
        up_ramp_s=35.0,
        limit_dead_s=1.0,
        limit_ramp_s=35.0,
        limit_restarts=True,
        restart_dead_s=15.0,
        boot_s=45.0,
    ),
    # Sleep to about 25 W in less than 5 s and wake in less than 10 s (docs.luxor.tech, curtail).
    # Profile changes ramp without a restart; their tempo is assumed.
    "luxos": FirmwareTimings(
        down_dead_s=1.0,
        down_ramp_s=3.0,
        up_dead_s=2.0,
        up_ramp_s=7.0,
        limit_dead_s=1.0,
        limit_ramp_s=15.0,
        limit_restarts=False,
        restart_dead_s=10.0,
        boot_s=60.0,
    ),
    # Pause within seconds and resume with a saved profile by quick ramping, whose times are
    # configurable (bos-plus-api 1.7.0, SetQuickRamping); no figure is published: all assumed. First
    # tuning (hours) is not played.
    "braiins": FirmwareTimings(
        down_dead_s=1.0,
        down_ramp_s=4.0,
        up_dead_s=5.0,
        up_ramp_s=30.0,
        limit_dead_s=2.0,
        limit_ramp_s=20.0,
        limit_restarts=False,
        restart_dead_s=10.0,
        boot_s=60.0,
    ),
}

LUXOS_SLEEP_POWER_W = 25.0
"""Vendor's claim (docs.luxor.tech, curtail). Luxor also cuts the supply, other firmwares leave it
running."""

# Power and hashrate: product pages of Bitmain and MicroBT. Boards, chips and fans: recorded replies
# and the model tables that open-source fleet software shares. Sleep draw: assumptions of the
# simulator.
_RATINGS = (
    MinerRating(
        make="AntMiner",
        model="Antminer S19 Pro",
        power_w=3250.0,
        hashrate_ths=110.0,
        boards=3,
        chips=114,
        fans=4,
        sleep_power_w=60.0,
    ),
    MinerRating(
        make="AntMiner",
        model="Antminer S19j Pro",
        power_w=3068.0,
        hashrate_ths=104.0,
        boards=3,
        chips=126,
        fans=4,
        sleep_power_w=60.0,
    ),
    MinerRating(
        make="AntMiner",
        model="Antminer S19k Pro",
        power_w=2760.0,
        hashrate_ths=120.0,
        boards=3,
        chips=77,
        fans=4,
        sleep_power_w=60.0,
    ),
    MinerRating(
        make="AntMiner",
        model="Antminer S19 XP",
        power_w=3010.0,
        hashrate_ths=140.0,
        boards=3,
        chips=110,
        fans=4,
        sleep_power_w=60.0,
    ),
    MinerRating(
        make="AntMiner",
        model="Antminer S21",
        power_w=3500.0,
        hashrate_ths=200.0,
        boards=3,
        chips=108,
        fans=4,
        sleep_power_w=60.0,
    ),
    MinerRating(
        make="WhatsMiner",
        model="M30S++ VH50",
        power_w=3472.0,
        hashrate_ths=112.0,
        boards=3,
        chips=74,
        fans=2,
        sleep_power_w=45.0,
    ),
    MinerRating(
        make="WhatsMiner",
        model="M50S VH50",
        power_w=3276.0,
        hashrate_ths=126.0,
        boards=3,
        chips=135,
        fans=2,
        sleep_power_w=45.0,
    ),
    MinerRating(
        make="WhatsMiner",
        model="M60S VK40",
        power_w=3441.0,
        hashrate_ths=186.0,
        boards=3,
        chips=225,
        fans=2,
        sleep_power_w=45.0,
    ),
)


def _key(model: str) -> str:
    words = model.lower().replace("_", " ").replace("-", " ").split()
    return "".join(word for word in words if word not in {"antminer", "whatsminer", "bitmain"})


RATINGS: dict[str, MinerRating] = {_key(rating.model): rating for rating in _RATINGS}


def rating_of(model: str) -> MinerRating:
    """Find a model by name, in any case, with or without the make; a Whatsminer also without its
    voltage code.

    >>> rating_of("s19 pro").model
    'Antminer S19 Pro'
    >>> rating_of("WhatsMiner M50S").model
    'M50S VH50'

    Raises ValueError naming the models that there are.
    """
    key = _key(model)
    found = RATINGS.get(key)
    if found is None:
        starts = [rating for name, rating in RATINGS.items() if name.startswith(key + "v")]
        if key and len(starts) == 1:
            return starts[0]
        known = ", ".join(rating.model for rating in _RATINGS)
        raise ValueError(f"model {model!r} is not simulated; use one of: {known}")
    return found
