"""The demonstration's time-series database: InfluxDB 1 behind nginx, both on loopback.

Debian's InfluxDB 1.6 has `/write` but not `/api/v2/write`, which InfluxDB has had since 1.8; nginx
says the one in the words of the other. `/query` and `/ping` go through as they are.
"""

import asyncio
import json
import shutil
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from controller.cli.demo.processes import Processes, ProcessFailed

NAME = "naryn"
"""The database that is made; its default policy is `autogen`."""
_READY_S = 20.0
_STEP_S = 0.05
_REPLY_BYTES_MAX = 16 * 1024 * 1024
_SBIN = "/usr/sbin"
"""Where Debian puts nginx, which no ordinary user has in his path."""


def influx_config(folder: Path, port: int, rpc_port: int) -> str:
    """InfluxDB 1's configuration: all of its data in `folder`, on loopback only."""
    return f"""reporting-enabled = false
bind-address = "127.0.0.1:{rpc_port}"

[meta]
  dir = "{folder}/meta"

[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  index-version = "inmem"
  query-log-enabled = false

[monitor]
  store-enabled = false

[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false

[logging]
  level = "warn"
"""


def rewrite_config(folder: Path, port: int, influx_port: int) -> str:
    """nginx's configuration: listens on `port`, speaks to InfluxDB 1 on `influx_port`.

    `/api/v2/write?bucket=DATABASE/POLICY&precision=ns` becomes `/write` with `db`, `rp` and
    `precision=n`. One process, which ends with its parent; nothing is written outside `folder`.
    """
    bodies = "\n".join(
        f"  {kind}_temp_path {folder}/nginx-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log off;
{bodies}
  client_max_body_size 25m;
  client_body_buffer_size 2m;
  map $arg_bucket $naryn_db {{
    "~^(?<found>[^/%]+)" $found;
  }}
  map $arg_bucket $naryn_rp {{
    default "";
    "~^[^/%]+(?:/|%2[Ff])(?<found>.+)$" $found;
  }}
  server {{
    listen 127.0.0.1:{port};
    location = /api/v2/write {{
      proxy_pass http://127.0.0.1:{influx_port}/write?db=$naryn_db&rp=$naryn_rp&precision=n;
    }}
    location / {{
      proxy_pass http://127.0.0.1:{influx_port};
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """InfluxDB on `influx_port` and, before it, nginx on `port`, which everybody uses."""

    folder: Path
    port: int
    influx_port: int
    influxd: str
    nginx: str

    @classmethod
    def found(cls, folder: Path, port: int, influx_port: int, rpc_port: int) -> Self | None:
        """Write both configurations into `folder`; None where a program is not installed."""
        influxd, nginx = (
            shutil.which("influxd"),
            shutil.which("nginx") or shutil.which("nginx", path=_SBIN),
        )
        if influxd is None or nginx is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "influxd.conf").write_text(influx_config(folder, influx_port, rpc_port), "utf-8")
        (folder / "nginx.conf").write_text(rewrite_config(folder, port, influx_port), "utf-8")
        return cls(folder=folder, port=port, influx_port=influx_port, influxd=influxd, nginx=nginx)

    @property
    def url(self) -> str:
        """For `telemetry.url`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        """The command line of each process, by name."""
        return {
            "database": (self.influxd, "-config", str(self.folder / "influxd.conf")),
            "database-door": (
                self.nginx,
                *("-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf")),
            ),
        }

    async def start(self, processes: Processes) -> None:
        """Start both, and make the database. Raises ProcessFailed."""
        for name, command in self.commands.items():
            await processes.launch(name, *command)
        await self.answers()
        await asyncio.to_thread(self.create)

    async def answers(self) -> None:
        """Wait until InfluxDB answers through nginx. Raises ProcessFailed."""
        end_s = asyncio.get_running_loop().time() + _READY_S
        while not await asyncio.to_thread(self.ready):
            if asyncio.get_running_loop().time() > end_s:
                raise ProcessFailed(
                    f"the database does not answer on {self.url} after {_READY_S:.0f} s; "
                    f"see the logs in {self.folder.parent}"
                )
            await asyncio.sleep(_STEP_S)

    def ready(self) -> bool:
        """Whether it answers now."""
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=2.0) as reply:  # noqa: S310 - ours
                return int(reply.status) == 204
        except OSError:
            return False

    def create(self) -> None:
        """Make the database; one that is there stays as it is. Raises OSError."""
        self.query(f'CREATE DATABASE "{NAME}"')

    def query(self, text: str) -> dict[str, object]:
        """Ask in InfluxQL. Raises OSError."""
        body = urllib.parse.urlencode({"q": text, "db": NAME}).encode()
        with urllib.request.urlopen(f"{self.url}/query", body, timeout=5.0) as reply:  # noqa: S310
            found: dict[str, object] = json.loads(reply.read(_REPLY_BYTES_MAX))
        return found
