"""Scripts of others are exactly those that were published, and each has its licence beside it."""

import hashlib
import re
from importlib.resources import files

VENDOR = files("controller.console") / "static" / "vendor"
ROW = re.compile(
    r"^\| `([\w.-]+)` \|.*\| ([\d.]+) \| \[[^]]+\]\(([\w.-]+)\) \| `([0-9a-f]{64})` \|$"
)


def test_sums_and_licences_are_as_listed_and_nothing_stands_there_unlisted():
    lines = (VENDOR / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [found.groups() for line in lines if (found := ROW.match(line))]
    assert len(rows) == 4
    for name, _, licence, wanted in rows:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == wanted, name
        assert (VENDOR / licence).read_text(encoding="utf-8").strip()
    listed = {name for name, *_ in rows} | {licence for _, _, licence, _ in rows}
    assert {entry.name for entry in VENDOR.iterdir()} == listed | {"README.md"}
