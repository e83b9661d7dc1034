"""A plant of real processes: mosquitto, simulated devices, `naryn run`, and the commands.

Everything listens on loopback. Each process is ended by its own pid, and what it said is in a log
of its own, shown when a test fails.
"""

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.ear import SITE_ID, Ear
from tests.e2e.programs import Program
from tests.loopback import free_port, listens
from tests.patience import eventually

ROOT = Path(__file__).parents[2]
QUIET = ROOT / "simulators" / "scenarios" / "quiet.toml"
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
NARYN = [sys.executable, "-m", "controller.cli.main"]
FAILSAFE_KW = 12
FILES_SOFT = 256

SITE = """
[health]
port = {health_port}

[site]
id = "e2e-hpp"
name = "End to end"
clock = "host"

[control]
ramp_up_mw_per_min = 3.0
ramp_down_mw_per_min = 6.0
min_on_s = 2
min_off_s = 2
recover_s = 1
confirm_s = 5
verify_hold_s = 2
service_s = 40

[poll]
period_s = 3
order_period_s = 1

[[node]]
id = "plant"
kind = "plant"
rating_kw = 200

[[node]]
id = "main"
kind = "feeder"
parent = "plant"
rating_kw = 100
meter = "main"
auxiliary_kw = 2

[[meter]]
id = "main"
map = "siemens-pac4200"
host = "{meter_host}"
port = {meter_port}

[dispatch]
broker_host = "127.0.0.1"
broker_port = {broker_port}
site_key_file = "keys/e2e-hpp.key"
node = "plant"
heartbeat_timeout_s = 4
hold_s = 3
decay_s = 6
failsafe_kw = {failsafe_kw}
restart_delay_s = 2

[[dispatch.key]]
file = "keys/ndc.pub"
issuer = "ndc"
roles = ["dispatch", "emergency", "lockout"]
"""


GUARD = """
[guard]
silence_s = 5
decay_s = 4
failsafe_kw = 0
port = {guard_port}

[[guard.hold_key]]
file = "keys/anna.pub"
issuer = "anna"
"""


class Plant:
    """A folder with a site, and everything around `naryn run`. A context manager.

    `whole`: the shipped scenario as it is, on the firmwares' own ports; one miner is entered
    without its firmware, so pyasic has to find out and drive it. Otherwise the same plant on ports
    that were free.
    `guarded`: the site has a guard, started by `run_guard`.
    """

    def __init__(self, *, whole=False, guarded=False):
        # Short, and not pytest's: a Unix socket's path has 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="naryn-e2e-"))
        self.programs, self.whole, self.guarded = [], whole, guarded
        self.broker_port, self.health_port, self.guard_port = (free_port() for _ in range(3))
        names = ("http",) if whole else ("http", "rpc", "grpc")
        self.ports = {name: free_port() for name in names}

    def __enter__(self):
        try:
            self._begin()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _begin(self):
        scenario, meter = self._scenario()
        self.start_broker()
        moved = [w for name, port in self.ports.items() for w in ("--port", f"{name}={port}")]
        simulators = [sys.executable, "-m", "simulators"]
        self.truth = self.folder / "truth.jsonl"
        self.devices = self.start(
            "devices", [*simulators, "serve", scenario, *moved, "--truth", str(self.truth)]
        )
        for name in (SITE_ID, "ndc", "stranger", "anna"):
            self.naryn("keys", "new", name, "--out", "keys")
        (self.folder / "site.toml").write_text(
            SITE.format(
                meter_host=meter[0],
                meter_port=meter[1],
                broker_port=self.broker_port,
                health_port=self.health_port,
                failsafe_kw=FAILSAFE_KW,
            )
            + (GUARD.format(guard_port=self.guard_port) if self.guarded else "")
        )
        fleet = subprocess.run(
            [*simulators, "inventory", scenario, *moved], check=True, capture_output=True, text=True
        )
        rows = fleet.stdout
        if self.whole:
            assert rows.count(",braiins,") > 1
            rows = rows.replace(",braiins,", ",pyasic,", 1)
        (self.folder / "miners.csv").write_text(rows)
        self.naryn("inventory", "import", "miners.csv")
        eventually(self._devices_listen, "the devices listen")
        self.ear = Ear(self.broker_port, self.folder / "keys" / f"{SITE_ID}.pub")

    def _devices_listen(self):
        assert self.devices.process.poll() is None, self.devices.said()
        return '"ready": true' in self.devices.said()

    def _scenario(self):
        if self.whole:
            return "quiet", ("127.20.1.1", 5020)
        text = QUIET.read_text()
        port = free_port()
        for theirs, ours in (("127.20.1.", "127.20.9."), ("port = 5020", f"port = {port}")):
            assert theirs in text
            text = text.replace(theirs, ours)
        path = self.folder / "quiet.toml"
        path.write_text(text)
        return str(path), ("127.20.9.1", port)

    def start(self, name, command):
        """Start a process that ends with this plant."""
        program = Program(self.folder, name, command)
        self.programs.append(program)
        return program

    def start_broker(self):
        """Start mosquitto on the plant's port; it remembers nothing."""
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"persistence false\nuser root\nlistener {self.broker_port} 127.0.0.1\n"
            "allow_anonymous true\n"
        )
        self.broker = self.start("broker", [MOSQUITTO, "-c", str(config)])
        eventually(lambda: listens("127.0.0.1", self.broker_port), "mosquitto listens")

    def run_site(self):
        """Start `naryn run` and wait until it shows itself."""
        usual = f"ulimit -Sn {FILES_SOFT} && exec "  # as a login shell or an init system starts it
        command = shlex.join([*NARYN, "run", "site.toml"])
        site = self.start("site", ["bash", "-c", usual + command])
        eventually(
            lambda: self.status() is not None or site.process.poll(), "the site shows itself"
        )
        assert site.process.poll() is None, site.said()[-2000:]
        return site

    def run_guard(self):
        """Start `naryn guard run` and wait until it answers."""
        guard = self.start("guard", [*NARYN, "guard", "run", "site.toml"])
        eventually(
            lambda: self.guard() is not None or guard.process.poll(), "the guard shows itself"
        )
        assert guard.process.poll() is None, guard.said()[-2000:]
        return guard

    def guard(self):
        """The running guard's image; None while it does not answer."""
        done = self.naryn("guard", "status", "--json", status=None)
        return json.loads(done.stdout) if done.stdout else None

    def beat(self):
        """Start the dispatcher's heartbeat."""
        return self.start(
            "heartbeat",
            [*NARYN, "dispatch", "heartbeat", *self._dispatcher("ndc"), "--every", "1s"],
        )

    def mine(self):
        """Run the site armed, heartbeats coming, until every miner is read and the plant mines."""
        self.beat()
        site = self.run_site()
        words = ["arm", "main"] if self.guarded else ["arm", "main", "--without-watchdog"]
        eventually(lambda: self.naryn(*words, status=None).returncode == 0, "the feeder is armed")
        eventually(lambda: self.status()["dispatcher"]["state"] == "heard", "heartbeats are heard")
        eventually(self._all_read, "every miner is read")
        return site

    def _all_read(self):
        lines = json.loads(self.naryn("miners", "--json").stdout)
        load_w = self.node("plant")["measured_w"]
        read = all(line["age_s"] is not None for line in lines)
        return read and load_w is not None and load_w > 0.9 * self.truth_w()

    def naryn(self, *words, status=0, within_s=90.0):
        """Run a command of the command line to its end; its exit status must be `status`."""
        done = subprocess.run(
            [*NARYN, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=within_s,
        )
        assert status is None or done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def _dispatcher(self, name):
        return [
            *("--broker", f"127.0.0.1:{self.broker_port}", "--site", SITE_ID),
            *("--key", f"keys/{name}.key", "--site-key", f"keys/{SITE_ID}.pub"),
        ]

    def order_words(self, order_id, cap_w, *, key="ndc"):
        """The command that orders a limit of the plant and waits for its proof."""
        return [
            *("dispatch", "order", *self._dispatcher(key), "--node", "plant", "--id", order_id),
            *("--cap-w", str(cap_w), "--for", "10m", "--wait", "--timeout", "80s", "--json"),
        ]

    def status(self):
        """The running site's image; None while it does not answer."""
        done = self.naryn("status", "--json", status=None)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def node(self, node_id):
        """A node of the running site's image."""
        return next(n for n in self.status()["nodes"] if n["node_id"] == node_id)

    def order(self, order_id):
        """An order of the running site's image; None when it has none of this id."""
        image = self.status()
        orders = [] if image is None else image["orders"]
        return next((o for o in orders if o["order_id"] == order_id), None)

    def truths_w(self):
        """True mining load at the feeder, second by second, by the simulator's own record."""
        lines = self.truth.read_text().splitlines()
        return [json.loads(line)["mining_w"] for line in lines]

    def truth_w(self):
        """True mining load now."""
        return self.truths_w()[-1]

    def __exit__(self, kind, error, trace):
        if hasattr(self, "ear"):
            self.ear.close()
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.end()
        if error is not None:
            for program in self.programs:
                sys.stderr.write(f"--- {program.name}\n{program.said()[-3000:]}\n")
        shutil.rmtree(self.folder)
