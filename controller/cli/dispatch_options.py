"""What every `naryn dispatch` command is given: the broker, the site, whose keys."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from controller.cli.dispatch_sequence import file_beside
from controller.dispatch.link import BrokerAddress, Tls
from controller.dispatch.secret_files import SecretFileError, read_secret
from controller.dispatch.topics import is_name
from controller.signing import (
    KeyFormatError,
    PublicKey,
    Role,
    SigningKey,
    parse_private_key,
    parse_public_key,
)

EXIT_REFUSED = 1
"""The site said REJECTED or FAILED."""
EXIT_USAGE = 2
EXIT_SILENT = 3
"""No broker, or no answer in time."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d)")
_DURATION_MAX_S = 366 * 86_400.0
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one command was given. `keys` is empty where nothing is signed (watch)."""

    address: BrokerAddress
    site: str
    issuer: str
    keys: tuple[SigningKey, ...]
    sequence_file: Path | None
    site_keys: dict[str, PublicKey]
    as_json: bool


Broker = Annotated[str, typer.Option("--broker", metavar="HOST:PORT", help="The MQTT broker.")]
Site = Annotated[str, typer.Option("--site", help="The site's name.")]
Keys = Annotated[
    list[Path],
    typer.Option("--key", help="Private key file; give it twice where two must sign."),
]
Issuer = Annotated[
    str | None,
    typer.Option(
        "--issuer", help="Whose key the first one is, as the site knows it; default: its file name."
    ),
]
SiteKey = Annotated[
    Path | None, typer.Option("--site-key", help="The site's public key, to check its answers.")
]
Username = Annotated[str | None, typer.Option("--username", help="Login at the broker.")]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="File (0600) with the broker's password.")
]
UseTls = Annotated[bool, typer.Option("--tls", help="Speak TLS; implied by --ca and --cert.")]
CaFile = Annotated[Path | None, typer.Option("--ca", help="Authorities that sign the broker.")]
CertFile = Annotated[Path | None, typer.Option("--cert", help="Our certificate at the broker.")]
CertKey = Annotated[Path | None, typer.Option("--cert-key", help="Its private key (0600).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]

_LINK_OPTIONS: dict[str, tuple[Any, Any]] = {
    "broker": (Broker, inspect.Parameter.empty),
    "site": (Site, inspect.Parameter.empty),
    "site_key": (SiteKey, None),
    "username": (Username, None),
    "password_file": (PasswordFile, None),
    "tls": (UseTls, False),
    "ca": (CaFile, None),
    "cert": (CertFile, None),
    "cert_key": (CertKey, None),
    "as_json": (Json, False),
}
_KEY_OPTIONS: dict[str, tuple[Any, Any]] = {
    "key": (Keys, inspect.Parameter.empty),
    "issuer": (Issuer, None),
}


def with_options(*, signing: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options; it receives them as one argument, `options`.

    `signing`: the command signs, so it asks for keys as well.
    """
    shared = {**_LINK_OPTIONS, **(_KEY_OPTIONS if signing else {})}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "options"]

        def run(**given: Any) -> None:
            command(options=_options({name: given.pop(name) for name in shared}), **given)

        added = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in shared.items()
        ]
        signature = inspect.Signature([*own, *added])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def fail(sentence: str, status: int = EXIT_USAGE) -> NoReturn:
    """Print what is wrong to the error stream, and end."""
    typer.echo(sentence, err=True)
    raise typer.Exit(status)


def parse_duration_s(text: str | float) -> float:
    """Seconds of a duration such as 30s, 15m, 2h, 1d. Raises typer.BadParameter.

    A number is one already: defaults come through here too.

    >>> parse_duration_s("15m")
    900.0
    """
    if isinstance(text, float):
        return text
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write 30s, 15m, 2h or 1d")
    duration_s = float(match[1]) * _UNIT_S[match[2]]
    if duration_s > _DURATION_MAX_S:
        raise typer.BadParameter(f"{text!r} is longer than the protocol's 366 days")
    return duration_s


def _options(given: dict[str, Any]) -> Options:
    paths: list[Path] = given.get("key", [])
    try:
        keys = tuple(_private(path) for path in paths)
        site_key = given["site_key"]
        site_keys = {} if site_key is None else _site_key(site_key, given["site"])
    except (SecretFileError, KeyFormatError, OSError) as error:
        fail(str(error))
    if len({key.key_id for key in keys}) != len(keys):
        fail("--key: the same key is given twice; two signatures are of two different keys")
    issuer = given.get("issuer") or (paths[0].stem if paths else "dispatcher")
    for option, name in (("--site", given["site"]), ("--issuer", issuer)):
        if not is_name(name):
            fail(f"{option}: {name!r} cannot be a name: letters, digits, '.', '_', ':', '-'")
    return Options(
        address=_address(given),
        site=given["site"],
        issuer=issuer,
        keys=keys,
        sequence_file=file_beside(paths[0]) if paths else None,
        site_keys=site_keys,
        as_json=given["as_json"],
    )


def _address(given: dict[str, Any]) -> BrokerAddress:
    host, _, port = given["broker"].rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        fail(f"--broker: {given['broker']!r} is not HOST:PORT, e.g. 10.0.0.5:8883")
    if given["cert_key"] is not None and given["cert"] is None:
        fail("--cert-key: give --cert as well")
    tls = None
    if given["tls"] or given["ca"] is not None or given["cert"] is not None:
        tls = Tls(ca_file=given["ca"], cert_file=given["cert"], key_file=given["cert_key"])
    return BrokerAddress(
        host=host.strip("[]"),
        port=int(port),
        username=given["username"],
        password_file=given["password_file"],
        tls=tls,
    )


def _private(path: Path) -> SigningKey:
    try:
        return parse_private_key(read_secret(path))
    except KeyFormatError as error:
        raise KeyFormatError(f"{path}: {error}") from None


def _site_key(path: Path, site: str) -> dict[str, PublicKey]:
    try:
        raw = parse_public_key(path.read_bytes())
    except KeyFormatError as error:
        raise KeyFormatError(f"{path}: {error}") from None
    key = PublicKey.of(raw, issuer=site, roles=[Role.SITE])
    return {key.key_id: key}
