"""One miner's life: only readings begun after the command move it; what is missing moves nobody."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from controller.power.site import Miner
from controller.power.state import Target, TargetState
from controller.power.targets import (
    answered,
    begin_sleep,
    begin_wake,
    command_for,
    draw_w,
    observe,
    reported_w,
    settled_w,
)
from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Outcome,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.readings import MinerReading, WorkMode
from tests.unit.power.toy import WHATSMINER, policy

RULES = policy()  # confirm_s 8, retry_s 60, retry_max_s 600
MINER = Miner(
    miner_id="m",
    node_id="f1",
    tier=1,
    firmware="whatsminer-v2",
    rated_power_w=3300.0,
    rated_hashrate_ths=110.0,
    sleep_power_w=30.0,
    dynamics=WHATSMINER,  # down 2 + 4 s, up 10 + 50 s
)
S = TargetState
SENT_S = 100.0


def seen(
    at_s: float,
    power_w: float | None = None,
    hashing: bool | None = None,
    hashrate_ths: float | None = None,
    mode: WorkMode | None = None,
) -> MinerReading:
    return MinerReading(
        miner_id="m",
        begun_s=at_s,
        taken_s=at_s + 0.2,
        power_w=power_w,
        hashing=hashing,
        hashrate_ths=hashrate_ths,
        mode=mode,
        raw_mode=None if mode is None else f"raw-{mode}",
    )


def a_target(state: TargetState, **changes: object) -> Target:
    target = Target(
        state=state,
        since_s=SENT_S,
        commanded_s=SENT_S,
        baseline_w=3200.0,
        from_w=3200.0,
        attempts=1,
    )
    return replace(target, **changes)  # type: ignore[arg-type]


def asleep(at_s: float, mode: WorkMode | None = None) -> MinerReading:
    return seen(at_s, power_w=40.0, hashing=False, mode=mode)


def awake(at_s: float, mode: WorkMode | None = None) -> MinerReading:
    return seen(at_s, power_w=3200.0, hashing=True, mode=mode)


def halfway(at_s: float) -> MinerReading:
    return seen(at_s, power_w=1700.0, hashing=True)


@pytest.mark.parametrize(
    ("before", "reading______________________", "at_s", "after"),
    [
        # down: 6 s, and 8 s to confirm
        (S.CURTAILING, None, 105, S.CURTAILING),
        (S.CURTAILING, asleep(105), 105, S.CURTAILED),
        (S.CURTAILING, asleep(99), 105, S.CURTAILING),  # begun before the command
        (S.CURTAILING, asleep(100), 105, S.CURTAILING),
        (S.CURTAILING, awake(105), 105, S.CURTAILING),
        (S.CURTAILING, awake(113), 114, S.CURTAILING),
        (S.CURTAILING, awake(113), 114.1, S.DEAF),
        (S.CURTAILING, None, 114.1, S.DEAF),
        (S.CURTAILING, asleep(99), 114.1, S.DEAF),
        (S.CURTAILING, seen(113), 114.1, S.DEAF),
        (S.CURTAILING, seen(105, power_w=40.0), 105, S.CURTAILED),
        (S.CURTAILING, seen(105, hashing=False), 105, S.CURTAILED),
        (S.CURTAILING, seen(105, power_w=3000.0, hashing=False), 105, S.CURTAILING),
        (S.CURTAILING, seen(105, power_w=40.0, hashing=True), 105, S.CURTAILING),
        (S.CURTAILING, seen(105), 105, S.CURTAILING),  # says nothing: sleeps nobody
        # asleep
        (S.CURTAILED, None, 9e5, S.CURTAILED),
        (S.CURTAILED, asleep(200), 200, S.CURTAILED),
        (S.CURTAILED, seen(200), 200, S.CURTAILED),  # says nothing: wakes nobody
        (S.CURTAILED, seen(200, power_w=40.0), 200, S.CURTAILED),
        (S.CURTAILED, awake(200), 200, S.DEAF),
        (S.CURTAILED, seen(200, hashing=True), 200, S.DEAF),
        (S.CURTAILED, awake(99), 200, S.CURTAILED),
        # deaf
        (S.DEAF, None, 9e5, S.DEAF),
        (S.DEAF, awake(200), 200, S.DEAF),
        (S.DEAF, asleep(200), 200, S.CURTAILED),
        (S.DEAF, asleep(99), 200, S.DEAF),
        (S.DEAF, seen(200), 200, S.DEAF),
        # up: 60 s; 8 s to confirm; a slow one has twice the time
        (S.RESTORING, awake(130), 130, S.RUNNING),
        (S.RESTORING, awake(99), 130, S.RESTORING),
        (S.RESTORING, halfway(130), 130, S.RESTORING),
        (S.RESTORING, halfway(219), 220, S.RESTORING),
        (S.RESTORING, halfway(219), 221, S.RUNNING),
        (S.RESTORING, asleep(167), 168, S.RESTORING),
        (S.RESTORING, asleep(167), 168.1, S.STUCK),
        (S.RESTORING, None, 168.1, S.STUCK),
        (S.RESTORING, seen(167), 168.1, S.STUCK),
        # stuck
        (S.STUCK, asleep(300), 300, S.STUCK),
        (S.STUCK, seen(300), 300, S.STUCK),
        (S.STUCK, awake(300), 300, S.RUNNING),
        (S.STUCK, awake(99), 300, S.STUCK),
        (S.RUNNING, asleep(300), 300, S.RUNNING),
    ],
)
def test_what_a_reading_does(
    before: TargetState,
    reading______________________: MinerReading | None,
    at_s: float,
    after: TargetState,
) -> None:
    target = a_target(before)
    moved = observe(MINER, target, reading______________________, at_s, RULES)
    assert moved.state is after
    if after is before:
        assert moved is target, "what did not move is kept as it is"
    else:
        assert moved.since_s == at_s


@given(
    state=st.sampled_from(list(TargetState)),
    begun_s=st.floats(0, 99.9),
    power_w=st.none() | st.floats(0, 5000),
    hashing=st.none() | st.booleans(),
)
def test_a_reading_begun_before_the_command_never_confirms(
    state: TargetState, begun_s: float, power_w: float | None, hashing: bool | None
) -> None:
    old = seen(begun_s, power_w=power_w, hashing=hashing)
    assert observe(MINER, a_target(state), old, SENT_S + 1.0, RULES).state is state


@pytest.mark.parametrize(
    ("reading", "watts"),
    [
        (None, 3300.0),  # never read: nameplate, never 0
        (seen(1, power_w=0.0, hashing=False), 0.0),  # 0 W means 0 W
        (seen(1, power_w=2950.0), 2950.0),
        (seen(1, hashrate_ths=55.0, hashing=True), 1650.0),  # no power: estimated
        (seen(1, hashrate_ths=110.0), 3300.0),
        (seen(1, hashrate_ths=1e9), 1.25 * 3300.0),
        (seen(1, hashing=False), 30.0),
        (seen(1), 3300.0),
        (seen(1, hashrate_ths=0.0), 3300.0),  # 0 TH/s and no word about hashing: not known asleep
        # nonsense stays within what a miner can draw
        (seen(1, power_w=1e9), 1.5 * 3300.0),
        (seen(1, power_w=-5.0), 3300.0),
        (seen(1, power_w=float("nan"), hashing=False), 30.0),
    ],
)
def test_what_a_miner_counts_at(reading: MinerReading | None, watts: float) -> None:
    assert reported_w(MINER, reading) == pytest.approx(watts)


@pytest.mark.parametrize(
    ("state", "after_s", "share"),
    [
        # φ: dead time, then linear
        (S.CURTAILING, 0, 1.0),
        (S.CURTAILING, 2, 1.0),
        (S.CURTAILING, 4, 0.5),
        (S.CURTAILING, 6, 0.0),
        (S.CURTAILING, 60, 0.0),
        (S.CURTAILED, 4, 0.5),
        (S.RESTORING, 10, 0.0),
        (S.RESTORING, 35, 0.5),
        (S.RESTORING, 60, 1.0),
        (S.RESTORING, 600, 1.0),
    ],
)
def test_a_movement_in_flight_follows_dead_time_and_ramp(
    state: TargetState, after_s: float, share: float
) -> None:
    from_w = 30.0 if state is S.RESTORING else 3200.0
    target = a_target(state, from_w=from_w)
    expected_w = 30.0 + share * (3200.0 - 30.0)
    assert draw_w(MINER, target, SENT_S + after_s, None) == pytest.approx(expected_w)


@pytest.mark.parametrize(
    ("state", "attempts", "reading", "watts"),
    [
        (S.CURTAILING, 1, awake(200), 30.0),
        (S.CURTAILED, 0, None, 30.0),
        (S.RESTORING, 1, asleep(200), 3200.0),
        (S.DEAF, 1, None, 3200.0),  # unreachable: last known
        (S.DEAF, 1, asleep(99), 3200.0),  # a reading from before proves nothing
        (S.DEAF, 1, seen(200, power_w=2000.0), 2000.0),
        # told to wake and perhaps only slow: its room stays its own, for three attempts
        (S.STUCK, 1, asleep(200), 3200.0),
        (S.STUCK, 3, asleep(200), 3200.0),
        (S.STUCK, 4, asleep(200), 40.0),
        (S.RUNNING, 0, awake(200), 3200.0),
        (S.RUNNING, 0, None, 3300.0),
    ],
)
def test_where_a_miner_will_settle(
    state: TargetState, attempts: int, reading: MinerReading | None, watts: float
) -> None:
    assert settled_w(MINER, a_target(state, attempts=attempts), reading) == watts


def test_exactly_what_it_had_is_given_back() -> None:
    reading = structs.replace(awake(90, mode=WorkMode.LOW), raw_mode="3", power_limit_w=2500.0)
    target = begin_sleep(MINER, None, reading, SENT_S, "limit")
    assert command_for(target) == Sleep()
    target = replace(target, state=S.CURTAILED)
    woken = begin_wake(MINER, target, asleep(150, mode=WorkMode.SLEEP), 200.0, "restore")
    assert command_for(woken) == Wake(mode=WorkMode.LOW, raw_mode="3", power_limit_w=2500.0)
    assert woken.baseline_w == 3200.0


def test_a_miner_called_back_on_its_way_up_keeps_what_it_had() -> None:
    restoring = a_target(S.RESTORING, mode=WorkMode.LOW, raw_mode="3", from_w=30.0)
    again = begin_sleep(MINER, restoring, halfway(130), SENT_S + 35.0, "limit")
    assert (again.mode, again.raw_mode, again.baseline_w) == (WorkMode.LOW, "3", 3200.0)
    assert again.from_w == 1700.0, "quicker than the model: as it says itself"
    by_model = begin_sleep(MINER, restoring, None, SENT_S + 35.0, "limit")
    assert by_model.from_w == pytest.approx(30.0 + 0.5 * 3170.0)


@pytest.mark.parametrize(
    ("earlier", "mode", "raw_mode"),
    [
        (None, None, None),
        (a_target(S.RUNNING, mode=WorkMode.LOW, raw_mode="3"), WorkMode.LOW, "3"),
    ],
)
def test_a_miner_set_to_sleep_that_hashes_on_is_not_woken_into_sleep(
    earlier: Target | None, mode: WorkMode | None, raw_mode: str | None
) -> None:
    reading = awake(90, mode=WorkMode.SLEEP)
    target = begin_sleep(MINER, earlier, reading, SENT_S, "limit")
    assert (target.mode, target.raw_mode) == (mode, raw_mode)


@pytest.mark.parametrize(
    ("power_w", "baseline_w"), [(3100.0, 3100.0), (1700.0, 1700.0), (400.0, 3300.0), (0.0, 3300.0)]
)
def test_a_miner_curtailed_while_it_starts_comes_back_to_its_nameplate(
    power_w: float, baseline_w: float
) -> None:
    target = begin_sleep(MINER, None, seen(90, power_w=power_w), SENT_S, "limit")
    assert target.from_w == power_w
    assert target.baseline_w == baseline_w


REFUSED = RefusalReason


@pytest.mark.parametrize(
    ("before", "outcome", "after", "retry_after_s"),
    [
        (S.CURTAILING, Applied(), S.CURTAILING, None),
        (S.CURTAILING, AlreadySo(), S.CURTAILING, None),
        (S.CURTAILING, Unconfirmed(detail="cut off"), S.CURTAILING, None),
        (S.CURTAILING, Refused(reason=REFUSED.BUSY, detail=""), S.DEAF, 10.0),
        (S.CURTAILING, Refused(reason=REFUSED.UNREACHABLE, detail=""), S.DEAF, 10.0),
        (S.CURTAILING, Refused(reason=REFUSED.UNAUTHORIZED, detail=""), S.DEAF, 60.0),
        (S.RESTORING, Refused(reason=REFUSED.DEVICE_REFUSED, detail=""), S.STUCK, 60.0),
        (S.RESTORING, Applied(), S.RESTORING, None),
        (S.CURTAILED, Refused(reason=REFUSED.BUSY, detail=""), S.CURTAILED, None),
        (S.RUNNING, Refused(reason=REFUSED.BUSY, detail=""), S.RUNNING, None),
    ],
)
def test_only_a_refusal_moves_a_miner(
    before: TargetState, outcome: Outcome, after: TargetState, retry_after_s: float | None
) -> None:
    moved = answered(a_target(before), outcome, 101.0, RULES)
    assert moved.state is after
    if retry_after_s is not None:
        assert moved.retry_s == 101.0 + retry_after_s


def test_writes_to_flash_are_counted_for_life() -> None:
    target = answered(a_target(S.CURTAILING), Applied(persistent_writes=2), 101.0, RULES)
    target = answered(target, Applied(persistent_writes=1), 102.0, RULES)
    again = begin_sleep(MINER, replace(target, state=S.RUNNING), None, 900.0, "limit")
    assert again.persistent_writes == 3


@pytest.mark.parametrize("way", ["down", "up"])
def test_retries_back_off_to_a_bound(way: str) -> None:
    target = a_target(S.CURTAILING if way == "down" else S.RESTORING)
    unmoved = awake if way == "down" else asleep
    waits = []
    now_s = SENT_S
    for _ in range(6):
        now_s += 70.0
        target = observe(MINER, target, unmoved(now_s - 1.0), now_s, RULES)
        waits.append(target.retry_s - now_s)
        begin = begin_sleep if way == "down" else begin_wake
        target = begin(MINER, target, None, now_s, "again")
    assert waits == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_success_forgets_earlier_attempts() -> None:
    target = observe(MINER, a_target(S.DEAF, attempts=4), asleep(200), 200.0, RULES)
    assert target.attempts == 0
    assert begin_wake(MINER, target, None, 300.0, "restore").attempts == 1
    drifted = observe(MINER, target, awake(300), 300.0, RULES)
    assert (drifted.state, drifted.why, drifted.retry_s) == (S.DEAF, "draws again", 300.0)
