"""A site of real processes: ordered, refused, killed, cut off, and ended."""

import json
import os
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest

from controller.dispatch.message import Order
from controller.dispatch.ports import PAYLOAD_BYTES_MAX
from controller.dispatch.sealing import seal
from controller.signing import ENVELOPE_BYTES_MAX, parse_private_key
from tests.e2e.ear import SITE_ID
from tests.e2e.plant import FAILSAFE_KW, FILES_SOFT, NARYN, Plant
from tests.e2e.programs import alive, descendants
from tests.loopback import listens
from tests.patience import eventually

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def plant():
    with Plant() as made:
        yield made


def signed(plant, key="ndc", **changes):
    """An order's envelope as the dispatcher's own program would make it."""
    now = datetime.now(UTC)
    facts = {
        "id": f"made-{time.monotonic_ns()}",
        "issuer": "ndc",
        "site": SITE_ID,
        "sequence": int(now.timestamp()) - 5,  # below what its own program sends next
        "node": "plant",
        "issued_at": now,
        "valid_from": now,
        "valid_until": now + timedelta(minutes=10),
        "cap_w": 5_000,
    }
    private = parse_private_key((plant.folder / "keys" / f"{key}.key").read_bytes())
    return seal(Order(**{**facts, **changes}), [private])


def get(port, path):
    """What a process says of itself over HTTP; anything but status 200 fails."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
        return json.load(reply)


def refused(plant, payload, reason):
    """The site answers these bytes with REJECTED and `reason`."""
    before = len(plant.ear.answers())
    plant.ear.say(payload)
    eventually(lambda: len(plant.ear.answers()) > before, f"an answer to {payload[:60]!r}")
    answer = plant.ear.answers()[before]
    assert (str(answer.stage), answer.reason) == ("REJECTED", reason)


def test_an_order_is_obeyed_and_proved_and_what_is_false_is_refused(plant):
    site = plant.mine()
    full_w = plant.truth_w()
    assert get(plant.health_port, "/healthz") == {"process": "run", "alive": True}
    assert get(plant.health_port, "/readyz") == {"process": "run", "ready": True, "reasons": []}

    limits = Path(f"/proc/{site.pid}/limits").read_text()
    soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits).groups()
    assert int(soft) == int(hard) > FILES_SOFT, "a connection to every miner at once"

    second = plant.naryn("run", "site.toml", status=1)
    assert f"process {site.pid} runs this site already" in second.stderr
    assert "Traceback" not in second.stderr

    refused(plant, b'{"cap_w": 0}', "MALFORMED")
    refused(plant, signed(plant, key="stranger"), "UNKNOWN_KEY")
    refused(plant, signed(plant, site="other-hpp"), "FOREIGN_SITE")
    stale = datetime.now(UTC) - timedelta(hours=2)
    old = {"issued_at": stale, "valid_from": stale, "valid_until": stale + timedelta(hours=1)}
    refused(plant, signed(plant, **old), "EXPIRED")
    refused(plant, b"\x00" * (ENVELOPE_BYTES_MAX + 1), "OVERSIZED")
    plant.ear.say(b"\x00" * (PAYLOAD_BYTES_MAX + 1))  # dropped unread
    refused(plant, b"\x00" * ENVELOPE_BYTES_MAX, "MALFORMED")
    stranger = plant.naryn(*plant.order_words("s1", 5_000, key="stranger"), status=1)
    assert '"UNKNOWN_KEY"' in stranger.stdout
    assert plant.status()["orders"] == []
    assert plant.truth_w() == pytest.approx(full_w, rel=0.03), "nothing of it moved the load"

    cap_w = round(0.6 * full_w)
    done = plant.naryn(*plant.order_words("o1", cap_w))
    assert '"VERIFIED"' in done.stdout
    assert plant.truth_w() <= 1.01 * cap_w
    assert plant.ear.stages("o1") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    proof = plant.ear.answers("o1")[-1]
    assert proof.measured_w <= 1.01 * cap_w
    assert proof.measured_w == pytest.approx(plant.truth_w(), rel=0.05)
    assert 0 < proof.t90_s <= 40

    first = plant.ear.orders()[-1]
    later = int(time.time()) + 5
    plant.ear.say(signed(plant, id="o2", sequence=later, cap_w=cap_w - 2_000))
    eventually(lambda: "ACCEPTED" in plant.ear.stages("o2"), "the second order is accepted")
    refused(plant, first, "REPLAYED")
    assert plant.order("o1")["stage"] == "superseded"
    assert plant.order("o2")["cap_w"] == cap_w - 2_000

    status, took_s = site.end(signal.SIGTERM)
    assert status == 0, site.said()[-2000:]
    assert took_s <= 5.0
    assert plant.status() is None
    assert not (plant.folder / "state" / "run" / "site.sock").exists()


def test_killed_in_the_middle_of_an_order_it_resumes_the_same_order(plant):
    site = plant.mine()
    cap_w = round(0.5 * plant.truth_w())
    waiting = subprocess.Popen(
        [*NARYN, *plant.order_words("o1", cap_w)],
        cwd=plant.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: "ACCEPTED" in plant.ear.stages("o1"), "the order is accepted")
        os.kill(site.pid, signal.SIGKILL)
        site.process.wait()
        assert plant.truth_w() > cap_w, "killed before it was delivered"
        again = plant.run_site()
        resumed = plant.order("o1")
        assert (resumed["cap_w"], resumed["stage"]) == (cap_w, "delivering")
        assert plant.node("plant")["limit_w"] == cap_w
        assert plant.status()["mode"] == "armed"
        out, _ = waiting.communicate(timeout=90)
    finally:
        if waiting.poll() is None:
            waiting.kill()
            waiting.wait()
    assert waiting.returncode == 0, out
    assert plant.ear.stages("o1") == ["RECEIVED", "ACCEPTED", "VERIFIED"], "each exactly once"
    assert plant.truth_w() <= 1.01 * cap_w
    sequences = [answer.sequence for answer in plant.ear.answers()]
    assert sequences == sorted(set(sequences)), "no sequence is used twice"
    assert again.process.poll() is None


def test_without_its_broker_the_load_falls_along_the_curve_and_stays_down(plant):
    site = plant.mine()
    full_w = plant.truth_w()
    plant.broker.end(signal.SIGKILL)
    cut = len(plant.truths_w())
    goal_w = FAILSAFE_KW * 1000
    eventually(lambda: plant.truth_w() <= 1.05 * goal_w, "the load is at the fail-safe value")
    image = plant.status()
    assert image["phase"] == "failsafe"
    assert image["dispatcher"]["state"] == "silent"
    assert image["dispatcher"]["connected"] is False
    assert any(alarm["alarm_id"] == "dispatcher_silent" for alarm in image["alarms"])
    time.sleep(5.0)
    loads_w = plant.truths_w()[cut:]
    assert min(loads_w[:3]) > 0.9 * full_w, "held first: a moment's silence drops nothing"
    noise_w = 0.02 * full_w
    lowest_w = full_w
    for load_w in loads_w:
        assert load_w <= lowest_w + noise_w, "it never rises"
        lowest_w = min(lowest_w, load_w)
    assert loads_w[-1] <= 1.05 * goal_w
    assert site.process.poll() is None
    status, took_s = site.end()
    assert (status, took_s <= 5.0) == (0, True), "it ends in time without its broker too"


def test_a_wrong_configuration_ends_with_status_2_and_all_its_problems(tmp_path):
    (tmp_path / "site.toml").write_text(
        '[site]\nid = "a b"\ntimezone = "Mars/Olympus"\n'
        "[control]\nramp_up_mw_per_min = -1\nramp_down_mw_per_min = 5\nspeed = 9\n"
        '[[node]]\nid = "plant"\nkind = "castle"\nrating_kw = "much"\n'
    )
    done = subprocess.run(
        [*NARYN, "run", "site.toml"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
    )
    assert done.returncode == 2
    keys = ("site.id", "site.timezone", "control.ramp_up_mw_per_min", "control.speed")
    for key in (*keys, "node[1].kind", "node[1].rating_kw"):
        assert key in done.stderr, key
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()


def test_keys_that_are_missing_end_with_status_2(plant):
    (plant.folder / "keys" / "ndc.pub").write_text("no key")
    (plant.folder / "keys" / f"{SITE_ID}.key").chmod(0o644)
    done = plant.naryn("run", "site.toml", status=2)
    assert "dispatch.key[1].file" in done.stderr
    assert "dispatch.site_key_file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.fixed_ports
@pytest.mark.xdist_group("miner-ports")
def test_the_shipped_scenario_with_pyasic_obeys_and_leaves_nothing_behind():
    with Plant(whole=True) as plant:
        site = plant.mine()
        children = descendants(site.pid)
        assert children, "pyasic runs in a child process"
        cap_w = round(0.5 * plant.truth_w())
        plant.naryn(*plant.order_words("o1", cap_w))
        assert plant.truth_w() <= 1.01 * cap_w
        status, took_s = site.end(signal.SIGTERM)
        assert (status, took_s <= 5.0) == (0, True), site.said()[-2000:]
        assert [pid for pid in children if alive(pid)] == []

        killed = plant.run_site()
        children = eventually(lambda: descendants(killed.pid), "the child is started again")
        killed.end(signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in children), "no child outlives it", 10.0)
    assert not listens("127.0.0.1", plant.broker_port)
