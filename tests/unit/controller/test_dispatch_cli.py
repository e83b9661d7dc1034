"""`naryn keys` and what `naryn dispatch` says about wrong input, before any broker is asked."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from controller.cli import dispatch, keys
from controller.cli.dispatch_options import parse_duration_s
from controller.cli.dispatch_sequence import (
    SequenceFileError,
    file_beside,
    sent_under,
    take_sequence,
)
from controller.signing import parse_private_key, parse_public_key

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
RUNNER = CliRunner()


def run(app, *words):
    return RUNNER.invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    assert run(keys.app, "new", "ndc", "--out", tmp_path / "desk").exit_code == 0
    return tmp_path / "desk"


def test_new_key_is_secret_and_its_public_half_fits(tmp_path):
    result = run(keys.app, "new", "ndc", "--out", tmp_path, "--json")
    said = json.loads(result.stdout)
    private, public = tmp_path / "ndc.key", tmp_path / "ndc.pub"
    assert said["private"] == str(private)
    assert private.stat().st_mode & 0o777 == 0o600
    key = parse_private_key(private.read_bytes())
    assert said["key_id"] == key.key_id
    assert parse_public_key(public.read_bytes()) == key.public_bytes


def test_new_key_overwrites_nothing(folder):
    before = (folder / "ndc.key").read_bytes()
    result = run(keys.app, "new", "ndc", "--out", folder)
    assert (result.exit_code, "not overwritten" in result.stderr) == (2, True)
    (folder / "ndc.pub").unlink()
    result = run(keys.app, "new", "ndc", "--out", folder)
    assert (result.exit_code, "not overwritten" in result.stderr) == (2, True)
    assert (folder / "ndc.key").read_bytes() == before
    assert not (folder / "ndc.pub").exists()


def test_two_keys_differ(folder):
    run(keys.app, "new", "chief", "--out", folder)
    assert (folder / "ndc.pub").read_bytes() != (folder / "chief.pub").read_bytes()


@pytest.mark.parametrize("half", ["key", "pub"])
def test_show_names_the_half_and_never_the_secret(folder, half):
    result = run(keys.app, "show", folder / f"ndc.{half}", "--json")
    said = json.loads(result.stdout)
    key = parse_private_key((folder / "ndc.key").read_bytes())
    assert said["half"] == {"key": "private", "pub": "public"}[half]
    assert (said["key_id"], said["public_hex"]) == (key.key_id, key.public_bytes.hex())
    plain = run(keys.app, "show", folder / f"ndc.{half}").stdout
    assert key.key_id in plain
    secret = key.private.private_bytes_raw().hex()
    assert secret not in plain + result.stdout


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "ж"])
def test_key_names_are_names(tmp_path, name):
    result = run(keys.app, "new", "--out", tmp_path, "--", name)
    assert (result.exit_code, "cannot be a name" in result.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_show_names_a_file_that_is_no_key(tmp_path, content):
    file = tmp_path / "x.key"
    file.write_bytes(content)
    file.chmod(0o600)
    result = run(keys.app, "show", file)
    assert (result.exit_code, str(file) in result.stderr) == (2, True)


def test_show_refuses_a_private_key_that_others_can_read(folder):
    (folder / "ndc.key").chmod(0o644)
    result = run(keys.app, "show", folder / "ndc.key")
    assert (result.exit_code, "chmod 600" in result.stderr) == (2, True)


def desk(folder, **options):
    given = {"broker": "127.0.0.1:1", "site": "kambarata", "key": folder / "ndc.key", **options}
    return [part for name, value in given.items() for part in (f"--{name}", value)]


BAD = [
    ("no action", ("order", "--node", "plant"), {}, "exactly one of"),
    ("two actions", ("order", "--node", "plant", "--cap-w", 1, "--by-w", 1), {}, "exactly one of"),
    ("negative", ("order", "--node", "plant", "--cap-w", -1), {}, "cap_w"),
    ("11 GW", ("order", "--node", "plant", "--cap-w", 11_000_000_000), {}, "cap_w"),
    ("more than all", ("order", "--node", "plant", "--percent", 101), {}, "curtail_percent"),
    ("node", ("order", "--node", "a/b", "--cap-w", 1), {}, "node"),
    (
        "lockout without number",
        ("order", "--node", "p", "--cap-w", 0, "--class", "lockout"),
        {},
        "order_number",
    ),
    ("duration", ("order", "--node", "p", "--cap-w", 0, "--for", "15"), {}, "write 30s, 15m"),
    ("no duration", ("order", "--node", "p", "--cap-w", 0, "--for", "0s"), {}, "valid_until"),
    ("very long", ("order", "--node", "p", "--cap-w", 0, "--for", "999999999d"), {}, "366 days"),
    ("releases itself", ("release", "x", "--node", "p", "--id", "x"), {}, "release itself"),
    ("setpoint without cap", ("setpoint", "--node", "p"), {}, "--cap-w"),
    ("on expiry", ("setpoint", "--node", "p", "--cap-w", 1, "--on-expiry", "rise"), {}, "rise"),
    ("heartbeat flood", ("heartbeat", "--every", "0.1s"), {}, "at least 1s"),
    ("broker", ("heartbeat",), {"broker": "nowhere"}, "HOST:PORT"),
    ("broker port", ("heartbeat",), {"broker": "a:70000"}, "HOST:PORT"),
    ("site", ("heartbeat",), {"site": "a/b"}, "--site"),
    ("issuer", ("heartbeat",), {"issuer": "#"}, "--issuer"),
    ("cert key alone", ("heartbeat",), {"cert-key": "x"}, "--cert"),
]


@pytest.mark.parametrize(("name", "words", "options", "said"), BAD, ids=[row[0] for row in BAD])
def test_wrong_input_is_named_and_nothing_is_sent(folder, name, words, options, said):
    result = run(dispatch.app, *words, *desk(folder, **options))
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.replace("│", "").split())


def test_wrong_key_files_are_named(folder):
    for key, said in [
        (folder / "absent.key", "No such file"),
        (folder / "ndc.pub", "lets others read it"),
    ]:
        result = run(dispatch.app, "heartbeat", *desk(folder, key=key))
        assert (result.exit_code, str(key) in result.stderr) == (2, True)
        assert said in result.stderr


def test_same_key_twice_is_not_two_signatures(folder):
    twice = [*desk(folder), "--key", folder / "ndc.key"]
    result = run(dispatch.app, "release", "x", "--node", "p", *twice)
    assert (result.exit_code, "given twice" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1.5s", 1.5), ("15m", 900), ("2h", 7_200), ("366d", 31_622_400)],
)
def test_durations(text, seconds):
    assert parse_duration_s(text) == seconds


def test_sequences_grow_by_topic_and_never_repeat(tmp_path):
    path = file_beside(tmp_path / "ndc.key")
    first = [take_sequence(path, "a", NOW) for _ in range(3)]
    assert first == [int(NOW.timestamp()) + n for n in range(3)]
    assert take_sequence(path, "b", NOW) == first[0]
    # The clock went back: the numbers do not.
    assert take_sequence(path, "a", NOW - timedelta(days=1)) == first[-1] + 1
    assert take_sequence(path, "a", NOW + timedelta(days=1)) == first[0] + 86_400
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lost_sequence_file_goes_on_above_the_old_numbers(tmp_path):
    path = file_beside(tmp_path / "ndc.key")
    old = take_sequence(path, "a", NOW)
    path.unlink()
    assert take_sequence(path, "a", NOW + timedelta(seconds=1)) > old


def test_a_damaged_sequence_file_is_named(tmp_path):
    path = file_beside(tmp_path / "ndc.key")
    path.write_bytes(b'{"topics": {"a": {"sequence": "x"}}}')
    with pytest.raises(SequenceFileError, match=r"ndc\.key\.sequence\.json.*damaged.*delete it"):
        take_sequence(path, "a", NOW)


def test_setpoints_that_stand_are_known_by_node(tmp_path):
    path = file_beside(tmp_path / "ndc.key")
    assert sent_under(path, "s/") == {}
    until = NOW + timedelta(hours=1)
    sequence = take_sequence(path, "s/plant", NOW, valid_until=until)
    take_sequence(path, "other", NOW)
    standing = sent_under(path, "s/")
    assert list(standing) == ["plant"]
    assert (standing["plant"].sequence, standing["plant"].valid_until) == (sequence, until)
