"""`naryn keys`: make and look at Ed25519 keys."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from controller.dispatch.secret_files import (
    SECRET_BYTES_MAX,
    SecretFileError,
    read_secret,
    write_secret,
)
from controller.dispatch.topics import is_name
from controller.signing import (
    KeyFormatError,
    SigningKey,
    key_id_of,
    parse_private_key,
    parse_public_key,
    private_pem,
    public_pem,
)

app = typer.Typer(help="Make and look at signing keys.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is: also the name of its issuer.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the two files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Make a key: NAME.key stays secret with its owner, NAME.pub is given to the other side."""
    if not is_name(name):
        _fail(f"{name!r} cannot be a name: use letters, digits, '.', '_', ':', '-', at most 64")
    private, public = out / f"{name}.key", out / f"{name}.pub"
    if public.exists():
        _fail(f"{public}: exists and is not overwritten; move it away or choose another name")
    key = SigningKey.of(Ed25519PrivateKey.generate())
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_secret(private, private_pem(key))
        public.write_bytes(public_pem(key.public_bytes))
    except (SecretFileError, OSError) as error:
        _fail(str(error))
    said = {"key_id": key.key_id, "private": str(private), "public": str(public)}
    if as_json:
        typer.echo(json.dumps(said))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"key id   {key.key_id}")
    console.print(f"private  {private}   (mode 0600: keep it, give it to nobody)")
    console.print(f"public   {public}   (give this one away)")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A private (.key) or public (.pub) file.")],
    *,
    as_json: Json = False,
) -> None:
    """Print the id of a key, and which half of it the file holds."""
    try:
        raw, half = _read(file)
    except (SecretFileError, KeyFormatError, OSError) as error:
        words = str(error)
        _fail(words if str(file) in words else f"{file}: {words}")
    said = {"key_id": key_id_of(raw), "half": half, "public_hex": raw.hex(), "file": str(file)}
    if as_json:
        typer.echo(json.dumps(said))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"key id      {said['key_id']}")
    console.print(f"file holds  the {half} key (Ed25519)")
    console.print(f"public key  {raw.hex()}")


def _read(file: Path) -> tuple[bytes, str]:
    """Raw public key and which half the file holds."""
    with file.open("rb") as opened:
        head = opened.read(SECRET_BYTES_MAX)
    if b"PRIVATE KEY" in head:
        return parse_private_key(read_secret(file)).public_bytes, "private"
    return parse_public_key(head), "public"


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)
