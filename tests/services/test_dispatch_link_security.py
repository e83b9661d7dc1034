"""TLS, passwords and secret files of the link, against mosquitto."""

import contextlib
import random
import re
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller.clock import SystemClock
from controller.dispatch.link import BrokerAddress, DispatchLink, Tls
from controller.dispatch.secret_files import write_secret
from controller.dispatch.topics import order_topic, site_subscriptions
from tests.patience import until
from tests.services.brokers import QUICK, Mosquitto

SITE = "kambarata"


def certificate(folder, name, signer=None):
    """Make NAME.pem and NAME.key; signed by `signer` = (certificate, key) or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signing = (subject, key) if signer is None else (signer[0].subject, signer[1])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .sign(signing, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(folder / f"{name}.key", pem)
    return made, key


def link(broker, **address):
    return DispatchLink(
        address=BrokerAddress(host="127.0.0.1", port=broker.port, reply_s=2.0, **address),
        subscriptions=site_subscriptions(SITE),
        clock=SystemClock(),
        rng=random.Random(1),
        backoff=QUICK,
    )


@contextlib.asynccontextmanager
async def mosquitto(*lines):
    broker = Mosquitto(listener_lines=lines)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()


async def reason(attempt):
    """Why a link does not come up."""
    async with attempt:
        await until(lambda: attempt.last_error is not None, "an error is told")
        assert not attempt.connected
        return attempt.last_error


@pytest.fixture
def folder(tmp_path):
    authority = certificate(tmp_path, "authority")
    certificate(tmp_path, "broker", authority)
    certificate(tmp_path, "site", authority)
    certificate(tmp_path, "stranger")
    return tmp_path


# paho-mqtt 2 leaves the socket of a failed handshake to be closed when it is collected.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
async def test_tls_with_a_certificate_on_both_sides(folder):
    async with mosquitto(
        f"cafile {folder}/authority.pem",
        f"certfile {folder}/broker.pem",
        f"keyfile {folder}/broker.key",
        "require_certificate true",
        "allow_anonymous true",
    ) as broker:
        mutual = Tls(
            ca_file=folder / "authority.pem",
            cert_file=folder / "site.pem",
            key_file=folder / "site.key",
        )
        async with link(broker, tls=mutual) as site:
            await until(lambda: site.connected, f"connects: {site.last_error}")
            await site.publish(order_topic(SITE), b"x" * 60_000)
            await until(lambda: not site.inbox.empty(), "comes back through the broker")
        told = await reason(link(broker, tls=Tls(ca_file=folder / "stranger.pem")))
        assert "certificate verify failed" in told
        assert "certificate" in await reason(link(broker, tls=Tls()))
        (folder / "site.key").chmod(0o644)
        assert "chmod 600" in await reason(link(broker, tls=mutual))


@pytest.fixture
def accounts(tmp_path):
    """Mosquitto's password file with one account: site."""
    return passwords(tmp_path, "site")


def passwords(folder, *users):
    file = folder / "accounts"
    file.touch(mode=0o600)
    for user in users:
        subprocess.run(["mosquitto_passwd", "-b", str(file), user, "right"], check=True)
    return file


async def test_password_from_a_file_of_ours_alone(tmp_path, accounts):
    password = tmp_path / "password"
    write_secret(password, b"right\n")
    login = {"username": "site", "password_file": password}
    async with mosquitto(f"password_file {accounts}", "allow_anonymous false") as broker:
        async with link(broker, **login) as site:
            await until(lambda: site.connected, f"connects: {site.last_error}")
            assert "right" not in repr(site)
        assert "authori" in (await reason(link(broker))).lower()
        password.write_bytes(b"wrong")
        assert "authori" in (await reason(link(broker, **login))).lower()
        password.chmod(0o640)
        assert "chmod 600" in await reason(link(broker, **login))


async def test_a_password_that_is_no_text_is_an_error_not_a_crash(tmp_path):
    write_secret(tmp_path / "password", b"\xff\xfe")
    async with mosquitto() as broker:
        told = await reason(link(broker, username="x", password_file=tmp_path / "password"))
        assert "decode" in told


async def test_the_access_list_of_the_documentation_holds(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "protocol" / "README.md").read_text()
    rules = re.search(r"```\n(# acl\n.*?)```", page, flags=re.DOTALL)[1]
    (tmp_path / "acl").write_text(rules)
    (tmp_path / "acl").chmod(0o600)
    write_secret(tmp_path / "password", b"right")
    accounts = passwords(tmp_path, SITE, "ndc")
    async with (
        mosquitto(f"password_file {accounts}", f"acl_file {tmp_path}/acl") as broker,
        link(broker, username=SITE, password_file=tmp_path / "password") as site,
        link(broker, username="ndc", password_file=tmp_path / "password") as dispatcher,
    ):
        await until(lambda: site.connected and dispatcher.connected, "both connect")
        # A stolen broker account of the site cannot order; that of the dispatcher can.
        await site.publish(order_topic(SITE), b"forged")
        await until(lambda: site.counts.published == 1, "the broker has seen it")
        await dispatcher.publish(order_topic(SITE), b"order")
        assert (await site.inbox.get()).payload == b"order"
