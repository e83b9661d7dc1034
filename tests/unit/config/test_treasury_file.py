"""`treasury.toml`: every mistake is named with file, key, value and mend, all at once."""

import bdkpython as bdk
import pytest

from controller.app.treasury import read_wallets
from controller.config.problems import ConfigError
from controller.config.treasury import Network, load_treasury
from controller.money.facts import Wallet
from controller.treasury.descriptors import DescriptorError, are_apart, watch

ORIGIN = "[4ba43603/84'/1'/0']"
TPUB = (
    "tpubDCXZhr2gyU3AsjyhdMmLs8MWsyMTcnjRB5A1UYshxLwaLe6nc9QxFTLUEent47xh2RvUDQekahUW1A3Xr2iTjEsSQ"
    "qeG3q3JW5YiV9Mrg6z"
)
OTHER = (
    "tpubDEonCVYruxRV8siSGC2b5kUALfnQg2jCx1TuvKzHXroYAUNfAc2xKsPJZJ6NXqu1n71HP43HsdtWxUQoJ7yUaNQk9"
    "AyrW2QdSk4oBfGTvfd"
)
THIRD = (
    "tpubDFdUHETXr2Ekf9swfJj5oVzqApnTA2SQTXzf6FJ51GnTGQHYBcpTby4ej32NQ4jWp1sHKcEws5HKENzoFhHwmBtJXd"
    "moCHkkS58H1PbeK7t"
)
COLLECTION = f"wpkh({ORIGIN}{TPUB}/<0;1>/*)#ca9n26c6"
RESERVE = f"wsh(sortedmulti(2,{THIRD}/0/*,{OTHER}/0/*))#pqt7a9yv"
PIN = "4b7ab5ed1a7e3307752010537ef1502739ea4a84356c7db3114f02a9c78fff62"
FIRST_COLLECTION = "bcrt1q022amqf3jv7mg744rcjmst222dfazqvmurt943"
FIRST_RESERVE = "bcrt1qhulln0w9pjf93huxng56szpp092jnf9jnshsdxzz4hpmadm0x7usr90fm9"

WHOLE = f"""
[treasury]
id = "reserve"
name = "State reserve"
state_dir = "state"
from_height = 5

[node]
url = "http://127.0.0.1:18443"
cookie_file = "cookie"
network = "regtest"

[collection]
descriptor = "{COLLECTION}"
sha256 = "{PIN}"
addresses = 40

[reserve]
descriptor = "{RESERVE}"
addresses = 40

[sweep]
min_sweep_sat = 1_000_000
feerate_sat_kvb = 2_000
feerate_max_sat_kvb = 50_000
max_fee_sat = 100_000

[[pool]]
id = "ocean"
kind = "ocean"
url = "https://api.example.org"
addresses = ["{FIRST_RESERVE}"]
pay_every_s = 86_400
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "treasury.toml"


def written(path, text):
    path.write_text(text, "utf-8")
    return load_treasury(path)


def changed(*pairs):
    text = WHOLE
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after, 1)
    return text


def problems(path, text, *, derived=False):
    with pytest.raises(ConfigError) as caught:
        _read(path, text, derived=derived)
    return caught.value.problems


def _read(path, text, *, derived):
    config = written(path, text)
    if derived:
        read_wallets(config)


def test_a_whole_file(path, tmp_path):
    config = written(path, WHOLE)
    assert config.file.node.network is Network.REGTEST
    assert config.state_dir == tmp_path / "state"
    assert config.cookie_file == tmp_path / "cookie"
    assert config.exchange_dir == tmp_path / "state" / "exchange"
    wallets = read_wallets(config)
    assert [w.address(0) for w in wallets.values()] == [FIRST_COLLECTION, FIRST_RESERVE]
    assert [len(w.scripts) for w in wallets.values()] == [80, 40]


def test_the_pin_is_the_same_for_both_ways_to_write_a_hardened_step(path):
    other = COLLECTION.replace("'", "h").replace("#ca9n26c6", "#04caxmj8")
    read_wallets(written(path, changed((COLLECTION, other))))


def test_without_sweep_and_pools_it_only_watches(path):
    config = written(path, WHOLE[: WHOLE.index("[sweep]")])
    assert (config.file.sweep, config.file.pool) == (None, ())


ONE = {
    "unknown key": ("from_height", "from_hight", "treasury.from_hight", "not a known key"),
    "missing": ('network = "regtest"\n', "", "node.network", "is missing; add it"),
    "network": ('"regtest"', '"testnet3"', "node.network", "'main', 'testnet4', 'signet' or"),
    "password in the url": ("//127", "//me:secret@127", "node.url", "should match pattern"),
    "below zero": ("= 5\n", "= -5\n", "treasury.from_height", "greater than or equal to 0"),
    "a fraction of a satoshi": ("= 1_000_000", "= 1000000.5", "sweep.min_sweep_sat", "integer"),
    "money as text": ("= 100_000", '= "100000"', "sweep.max_fee_sat", "valid integer"),
    "yes for money": ("= 100_000", "= true", "sweep.max_fee_sat", "valid integer"),
    "more than there is": ("= 1_000_000", f"= {10**17}", "sweep.min_sweep_sat", "less than"),
    "rate below relay": ("= 2_000", "= 99", "sweep.feerate_sat_kvb", "equal to 100"),
    "no room above": ("= 50_000", "= 2_199", "sweep", "at least 1.1 times"),
    "few addresses": ("addresses = 40", "addresses = 29", "collection.addresses", "equal to 30"),
    "pin": (PIN, "ca9n26c6", "collection.sha256", "should match pattern"),
    "pool's kind": ('kind = "ocean"', 'kind = "lake"', "pool[1].kind", "'ocean'"),
    "no pool's address": (f'["{FIRST_RESERVE}"]', "[]", "pool[1].addresses", "at least 1"),
    "address twice": (
        f'["{FIRST_RESERVE}"]',
        f'["{FIRST_RESERVE}", "{FIRST_RESERVE}"]',
        "pool.addresses",
        "2 times",
    ),
}


@pytest.mark.parametrize(("before", "after", "key", "mend"), ONE.values(), ids=ONE)
def test_a_mistake_is_named(path, before, after, key, mend):
    (problem,) = problems(path, changed((before, after)))
    assert problem.file == path
    assert problem.key == key
    assert mend in problem.mend


def test_all_mistakes_at_once(path):
    text = changed(("from_height", "from_hight"), ("= 2_000", "= 99"), ('"regtest"', '"x"'))
    keys = {problem.key for problem in problems(path, text)}
    assert keys == {"treasury.from_hight", "sweep.feerate_sat_kvb", "node.network"}


def test_two_pools_need_two_addresses_and_names(path):
    again = WHOLE[WHOLE.index("[[pool]]") :].replace("api.", "api2.")
    keys = [problem.key for problem in problems(path, WHOLE + again)]
    assert keys == ["pool.id", "pool.addresses"]


# No message may repeat a private key or a password

XPRV = (
    "tprv8fqXZ2XTufvUm6wtzSNJgZPSSJCEcknbAXPCw4wvpBMhvqyM1i7FxTnrGrF7P5qxZqgDWa9B1wmdMG7tyxRjJKr"
    "QxG3PnbcCvSjo4QTD9N4"
)
WIF = "cVt4o7BGAig1UXywgGSmARhxMdzP5qvQsxKkSsc1XEkw3tDTQFpy"
PRIVATE = {
    "in a descriptor": (TPUB, XPRV, "collection.descriptor"),
    "WIF in a descriptor": (f"{ORIGIN}{TPUB}/<0;1>/*", WIF, "collection.descriptor"),
    "as pin": (PIN, XPRV, "collection.sha256"),
    "WIF as pin": (PIN, WIF, "collection.sha256"),
    "under an unknown key": ("from_height = 5", f'private = "{XPRV}"', "treasury.private"),
    "as a key": ("from_height = 5", f"{XPRV} = 5", "treasury.…"),
    "in a list": (f'"{COLLECTION}"', f'["{XPRV}"]', "collection.descriptor[1]"),
    "too long": (COLLECTION, f"wpkh({XPRV}/0/*)" + "x" * 4_000, "collection.descriptor"),
    "WIF as an address": (FIRST_RESERVE, WIF, "pool[1].addresses[1]"),
    "as a name": ("State reserve", XPRV, "treasury.name"),
    "with a mistake elsewhere": (
        f'"regtest"\n\n[collection]\ndescriptor = "{COLLECTION}"',
        f'"x"\n\n[collection]\ndescriptor = "{XPRV}"',
        "collection.descriptor",
    ),
}


@pytest.mark.parametrize(("before", "after", "key"), PRIVATE.values(), ids=PRIVATE)
def test_a_private_key_is_refused_before_anything_is_shown(path, before, after, key):
    (problem,) = problems(path, changed((before, after)))
    assert (problem.key, "PRIVATE KEY" in problem.mend) == (key, True)
    for secret in (XPRV, WIF):
        assert secret[:12] not in str(problem)


@pytest.mark.parametrize("text", [f"wpkh({XPRV}/0/*)#ca9n26c6", f"wpkh({WIF})#ca9n26c6"])
def test_a_private_descriptor_is_not_watched_either(text):
    with pytest.raises(DescriptorError, match="PRIVATE KEY") as told:
        watch(Wallet.COLLECTION, text, Network.REGTEST, 30)
    assert text[5:17] not in str(told.value)


PRV_INSIDE = (
    "tpubD6NzVbkrYhZ4XLCf5L3xFNidsigohRtspHhJcarAMzzKEAZApXTprvUayDDqZ7At69iyA9a4rSs7wfFfkpjaTXhmr"
    "JUuvkBp5qjTtJsyg36"
)
"""The master public key of a BIP32 seed of 1532 as 32 bytes; one in about 2,000 looks like it."""


def test_a_public_key_with_the_letters_prv_inside_is_public(path):
    descriptor = bdk.Descriptor(f"wpkh({PRV_INSIDE}/0/*)", bdk.NetworkKind.TEST)
    config = written(path, changed((COLLECTION, str(descriptor)), (PIN, "0" * 64)))
    assert config.file.collection.descriptor == str(descriptor)
    assert watch(Wallet.COLLECTION, str(descriptor), Network.REGTEST, 1).is_ranged


SECRETS = {
    "password in the url": ("//127", "//me:hunter2@127", "node.url"),
    "url of a list": ('"http://127.0.0.1:18443"', '["http://me:hunter2@127.0.0.1"]', "node.url"),
    "password in a pool's url": ("//api", "//me:hunter2@api", "pool[1].url"),
    "one pool": ("[[pool]]", '[pool]\ndescriptor = "hunter2"', "pool"),
    "password": ("from_height = 5", 'password = "hunter2"', "treasury.password"),
    "a descriptor of nothing": (COLLECTION, "hunter2", "collection.descriptor"),
}


@pytest.mark.parametrize(("before", "after", "key"), SECRETS.values(), ids=SECRETS)
def test_what_may_be_secret_is_not_shown(path, before, after, key):
    (problem,) = problems(path, changed((before, after)))
    assert problem.key == key
    assert "hunter2" not in str(problem)


# What only shows when the descriptors are read

DERIVED = {
    "wrong checksum": ("#ca9n26c6", "#ca9n26c7", "collection.descriptor", "checksum is wrong"),
    "no checksum": ("#ca9n26c6", "", "collection.descriptor", "has no checksum"),
    "one letter": ("84'/1'", "84'/2'", "collection.descriptor", "checksum is wrong"),
    "pinned another": (PIN, PIN[::-1], "collection.descriptor", "one of them was changed"),
    "nonsense": (f"wpkh({ORIGIN}", "wpkh(x", "collection.descriptor", "checksum is wrong"),
    "main network": ('"regtest"', '"main"', "collection.descriptor", "main (xpub)"),
    "stranger's address": (
        FIRST_RESERVE,
        "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202",
        "pool[1].addresses[1]",
        "strangers",
    ),
    "no address": (FIRST_RESERVE, "bcrt1qxxxxxxxxxxxxxxx", "pool[1].addresses[1]", "no address"),
}


@pytest.mark.parametrize(("before", "after", "key", "mend"), DERIVED.values(), ids=DERIVED)
def test_what_the_descriptors_say(path, before, after, key, mend):
    found = problems(path, changed((before, after)), derived=True)
    told = [problem for problem in found if problem.key == key]
    assert told
    assert mend in told[0].mend


@pytest.mark.parametrize(
    ("descriptor", "mend"),
    [
        (f"wsh(sortedmulti(2,{TPUB}/0/0,{OTHER}/0/0))", "one address only"),
        (f"pkh({TPUB}/0/*)", "kind of descriptor is not supported"),
        (f"sh(wpkh({TPUB}/0/*))", "kind of descriptor is not supported"),
    ],
)
def test_kinds_that_a_reserve_must_not_be(path, descriptor, mend):
    from embit.descriptor.checksum import add_checksum  # noqa: PLC0415

    text = changed((RESERVE, add_checksum(descriptor)))
    found = problems(path, text, derived=True)
    assert [p.key for p in found] == ["reserve.descriptor"]
    assert mend in found[0].mend


SHARED = {
    "the same": f"wpkh({ORIGIN}{TPUB}/<0;1>/*)",
    "another branch": f"wpkh({ORIGIN}{TPUB}/1/*)",
    "written otherwise": f"wpkh([4ba43603/84h/1h/0h]{TPUB}/<0;1>/*)",
    "branches exchanged": f"wpkh({ORIGIN}{TPUB}/<1;0>/*)",
    "without an origin": f"wpkh({TPUB}/7/*)",
    "one key of two": f"wsh(sortedmulti(2,{TPUB}/5/*,{OTHER}/5/*))",
}


@pytest.mark.parametrize("descriptor", SHARED.values(), ids=SHARED)
def test_a_reserve_has_no_key_of_the_collection(path, descriptor):
    from embit.descriptor.checksum import add_checksum  # noqa: PLC0415

    text = changed((RESERVE, add_checksum(descriptor)))
    (problem,) = problems(path, text, derived=True)
    assert problem.key == "reserve.descriptor"
    assert "keys of its own" in problem.mend


def test_a_single_key_that_both_have_is_found():
    from embit.descriptor.checksum import add_checksum  # noqa: PLC0415

    point = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    texts = (f"wpkh(02{point})", f"wsh(sortedmulti(1,02{point},{OTHER}/0/*))")
    one, other = (
        watch(wallet, add_checksum(text), Network.REGTEST, 30)
        for wallet, text in zip((Wallet.COLLECTION, Wallet.RESERVE), texts, strict=True)
    )
    assert not are_apart(one, other)
