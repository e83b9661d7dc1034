"""What `naryn config check` reads, and who may be ordered."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.app.site import check_site
from controller.app.trusted import read_hold_keys
from controller.config.load import load
from controller.config.problems import ConfigError
from controller.dispatch.standing import caps_now_w
from controller.power.site import Node, NodeKind
from controller.power.state import State
from controller.signing import SigningKey, public_pem
from tests.unit.power.toy import build, tree

SITE = """
[site]
id = "check"
[control]
ramp_up_mw_per_min = 1
ramp_down_mw_per_min = 1
[[node]]
id = "plant"
kind = "plant"
rating_kw = 100
[[node]]
id = "f1"
kind = "feeder"
parent = "plant"
rating_kw = 100
meter = "m1"
[[meter]]
id = "m1"
map = "{map}"
host = "127.0.0.1"
[[login]]
firmware = "antminer-stock"
username = "root"
password_file = "password"
"""


def written(folder, register_map="siemens-pac4200", mode=0o600):
    """A site of one meter and one login."""
    (folder / "password").write_text("root\n")
    (folder / "password").chmod(mode)
    (folder / "site.toml").write_text(SITE.format(map=register_map))
    return load(folder / "site.toml")


def test_a_site_in_order_passes(tmp_path):
    check_site(written(tmp_path))


def test_maps_and_passwords_are_read_and_all_told_at_once(tmp_path):
    config = written(tmp_path, register_map="no-such-meter", mode=0o644)
    with pytest.raises(ConfigError) as caught:
        check_site(config)
    told = str(caught.value)
    assert "meter[1].map" in told
    assert "login[1].password_file" in told
    assert "chmod 600" in told


GUARD = """
[guard]
[[guard.hold_key]]
file = "anna.pub"
issuer = "anna"
[[guard.hold_key]]
file = "ben.pub"
issuer = "ben"
"""


def test_the_keys_that_may_hold_the_guard_are_read(tmp_path):
    key, other = (SigningKey.of(Ed25519PrivateKey.generate()) for _ in range(2))
    written(tmp_path)
    with (tmp_path / "site.toml").open("a") as site:
        site.write(GUARD)
    config = load(tmp_path / "site.toml")
    (tmp_path / "anna.pub").write_bytes(b"no key")
    with pytest.raises(ConfigError) as caught:
        check_site(config)
    told = str(caught.value)
    assert 'guard.hold_key[1].file = "anna.pub": not a PEM public key' in told
    assert 'guard.hold_key[2].file = "ben.pub": cannot be read: No such file' in told
    for name in ("anna.pub", "ben.pub"):
        (tmp_path / name).write_bytes(public_pem(key.public_bytes))
    with pytest.raises(ConfigError, match=r"hold_key\[2\].*this key is listed already"):
        check_site(config)
    (tmp_path / "ben.pub").write_bytes(public_pem(other.public_bytes))
    assert [trusted.issuer for trusted in read_hold_keys(config).values()] == ["anna", "ben"]


def test_a_rack_has_no_meter_and_takes_no_orders():
    rack = Node(node_id="r1", kind=NodeKind.RACK, parent="f1", rating_w=1e5)
    toy = build(miners=6, nodes=[*tree(), rack])
    caps = caps_now_w(State(), toy.site, 0.0)
    assert "r1" not in caps
    assert {"plant", "f1", "f2"} <= set(caps)
