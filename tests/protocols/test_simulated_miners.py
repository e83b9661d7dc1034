"""Every simulated miner alike: the fleet, deaf units, faults, and requests that are none."""

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.devices.antminer import Antminer, ModeKey
from simulators.devices.fleet import build_fleet
from simulators.devices.persona import FAULTS, HUGE_BYTES, Answer, Close, Persona
from tests.protocols.simulated_fleet import (
    ONE_OF_EACH,
    Group,
    World,
    rpc,
    sleep_command,
    world_of,
)


@pytest.mark.parametrize("group", ONE_OF_EACH, ids=lambda group: group.firmware)
@pytest.mark.parametrize("deaf", [False, True], ids=["hearing", "deaf"])
def test_a_deaf_miner_says_success_and_draws_on(group: Group, deaf: bool) -> None:
    world = world_of(
        Group(group.firmware, group.model, group.first_host, deaf_count=1 if deaf else 0)
    )
    persona = world.fleet[group.first_host]
    assert sleep_command(world, persona)
    world.advance(60.0)
    draws = persona.miner.full_power_w if deaf else persona.miner.rating.sleep_power_w
    assert persona.miner.wall_power_w == pytest.approx(draws)
    if deaf:
        assert persona.persistent_writes == 0
        assert persona.accepts("rpc", world.now_s)


@pytest.mark.parametrize("group", ONE_OF_EACH, ids=lambda group: group.firmware)
class TestFaults:
    def one(self, group: Group, fault: str) -> tuple[World, Persona]:
        world = world_of(group)
        persona = world.fleet[group.first_host]
        persona.set_fault(fault)
        return world, persona

    def ask(self, world: World, persona: Persona) -> Answer:
        answer = persona.tcp("rpc", b'{"command":"summary"}', world.now_s)
        assert answer is not None
        return answer

    def test_hang(self, group: Group) -> None:
        world, persona = self.one(group, "hang")
        assert persona.accepts("rpc", world.now_s)
        assert self.ask(world, persona) == Answer(None, close=Close.KEEP)

    def test_garbage(self, group: Group) -> None:
        world, persona = self.one(group, "garbage")
        body = self.ask(world, persona).body
        assert body is not None
        with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
            json.loads(body)

    def test_huge(self, group: Group) -> None:
        body = self.ask(*self.one(group, "huge")).body
        assert body is not None
        assert len(body) > HUGE_BYTES

    def test_closed(self, group: Group) -> None:
        world, persona = self.one(group, "closed")
        assert not persona.accepts("rpc", world.now_s)
        assert self.ask(world, persona).close is Close.RESET

    def test_slow(self, group: Group) -> None:
        assert self.ask(*self.one(group, "slow")).after_s == pytest.approx(5.0)

    def test_liar(self, group: Group) -> None:
        world, persona = self.one(group, "liar")
        row = rpc(persona, world.now_s, "summary")["SUMMARY"][0]
        rates = [row[key] for key in row if key.startswith(("GHS", "MHS"))]
        assert rates
        assert not any(rates)
        assert not row.get("Power")
        assert persona.miner.wall_power_w > 2_900.0

    def test_no_fault_again(self, group: Group) -> None:
        world, persona = self.one(group, "hang")
        persona.set_fault(None)
        assert rpc(persona, world.now_s, "summary")["SUMMARY"]

    def test_another_name_is_refused(self, group: Group) -> None:
        world = world_of(group)
        with pytest.raises(ValueError, match="use one of: " + ", ".join(FAULTS)):
            world.fleet[group.first_host].set_fault("explode")


class TestFleet:
    def test_half_of_the_antminers_obey_only_miner_mode(self) -> None:
        fleet = build_fleet(
            [Group("antminer-stock", "S21", "127.77.5.1", count=40)], rng=random.Random(1)
        )
        keys = [miner.mode_key for miner in fleet.values() if isinstance(miner, Antminer)]
        assert keys.count(ModeKey.MINER_MODE_ONLY) == 20

    @pytest.mark.parametrize(
        ("count", "deaf_count", "deaf_percent", "deaf"),
        [(100, 0, 2.0, 2), (10, 0, 2.0, 1), (10, 3, 0.0, 3), (10, 0, 0.0, 0), (2, 5, 0.0, 2)],
    )
    def test_the_number_of_deaf_miners_is_exact(
        self, count: int, deaf_count: int, deaf_percent: float, deaf: int
    ) -> None:
        group = Group(
            "luxos",
            "S21",
            "127.77.5.1",
            count=count,
            deaf_count=deaf_count,
            deaf_percent=deaf_percent,
        )
        fleet = build_fleet([group], rng=random.Random(1))
        assert sum(persona.miner.deaf for persona in fleet.values()) == deaf

    def test_power_is_under_reported_by_up_to_the_percentage(self) -> None:
        group = Group("luxos", "S21", "127.77.5.1", count=200, under_report_percent=5.0)
        shares = [
            persona.miner.under_report
            for persona in build_fleet([group], rng=random.Random(1)).values()
        ]
        assert 0.0 <= min(shares) < 0.005
        assert 0.045 < max(shares) <= 0.05

    def test_the_same_seed_makes_the_same_fleet(self) -> None:
        def faces(seed: int) -> list[tuple[str, str, str, float]]:
            fleet = build_fleet(ONE_OF_EACH, rng=random.Random(seed))
            return [(p.host, p.mac, p.serial, p.miner.full_power_w) for p in fleet.values()]

        assert faces(3) == faces(3)
        assert faces(3) != faces(4)

    def test_addresses_run_on_over_the_last_byte(self) -> None:
        fleet = build_fleet([Group("luxos", "S21", "127.77.5.254", count=4)], rng=random.Random(1))
        assert list(fleet) == ["127.77.5.254", "127.77.5.255", "127.77.6.0", "127.77.6.1"]

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            ([Group("luxos", "S9", "127.0.0.1")], "model 'S9' is not simulated"),
            ([Group("vnish", "S21", "127.0.0.1")], "firmware 'vnish' is not simulated; use one of"),
            ([Group("luxos", "M50S", "127.0.0.1")], "luxos does not run on a WhatsMiner"),
            ([Group("luxos", "S21", "10.0.0.1")], r"must lie in 127\.0\.0\.0/8"),
            ([Group("luxos", "S21", "127.255.255.250", count=9)], "must lie in"),
            ([Group("luxos", "S21", "here")], "first_host is no IPv4 address"),
            ([Group("luxos", "S21", "127.0.0.1", count=0)], "count must be at least 1"),
            ([Group("luxos", "S21", "127.0.0.1"), Group("luxos", "S21", "127.0.0.1")], "another"),
        ],
    )
    def test_what_cannot_be_is_said_with_the_group(self, groups: list[Group], message: str) -> None:
        with pytest.raises(ValueError, match=f"miners at .*{message}"):
            build_fleet(groups, rng=random.Random(1))


NOISE: list[Callable[[bytes], bytes]] = [
    lambda data: data,
    lambda data: b"{" + data + b"}",
    lambda data: b'{"command":"' + data.hex().encode() + b'"}',
    lambda data: b'{"enc":1,"data":"' + data.hex().encode() + b'"}',
]


@given(st.sampled_from(ONE_OF_EACH), st.sampled_from(NOISE), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_request_breaks_a_miner(
    group: Group, noise: Callable[[bytes], bytes], data: bytes
) -> None:
    persona = build_fleet([group], rng=random.Random(1))[group.first_host]
    answer = persona.tcp("rpc", noise(data), 10.0)
    if answer is not None:
        assert answer.body is not None
        assert json.loads(answer.body.rstrip(b"\0"))
    assert not persona.miner.sleep_wanted
