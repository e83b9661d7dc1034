"""The client's half of HTTP digest authentication (RFC 7616, MD5 and SHA-256, qop=auth). Pure.

Used where there is no HTTP library underneath: the in-memory transport and the prepared requests of
mass commands.
"""

import hashlib
import re
from collections.abc import Callable, Mapping

from drivers.contract.devices import Login

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')

_HASHES: Mapping[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
}


def parse_challenge(header: str) -> dict[str, str] | None:
    """Return the parameters of a `WWW-Authenticate: Digest …` header; None for any other header.

    >>> parse_challenge('Digest realm="antMiner Configuration", nonce="5f", qop="auth"')
    {'realm': 'antMiner Configuration', 'nonce': '5f', 'qop': 'auth'}
    """
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "digest":
        return None
    found = {
        name.lower(): (bare or re.sub(r"\\(.)", r"\1", quoted))
        for name, quoted, bare in _PARAMETER.findall(rest)
    }
    if "realm" not in found or not found.get("nonce"):
        return None
    if found.get("algorithm", "MD5").upper() not in _HASHES:
        return None
    return found


def authorization(
    challenge: Mapping[str, str], login: Login, method: str, path: str, *, count: int, cnonce: str
) -> str:
    """Return the `Authorization` header that answers `challenge`.

    `count` is how often this nonce has been used, this time included; `cnonce` is the caller's
    random text.
    """
    algorithm = challenge.get("algorithm", "MD5")
    digest = _HASHES[algorithm.upper()]
    realm, nonce = challenge["realm"], challenge["nonce"]
    secret = digest(f"{login.username}:{realm}:{login.password}".encode())
    target = digest(f"{method}:{path}".encode())
    fields = {"username": login.username, "realm": realm, "nonce": nonce, "uri": path}
    bare = {"algorithm": algorithm}
    if "auth" in [qop.strip() for qop in challenge.get("qop", "").split(",")]:
        bare |= {"qop": "auth", "nc": f"{count:08x}"}
        fields["cnonce"] = cnonce
        fields["response"] = digest(
            f"{secret}:{nonce}:{bare['nc']}:{cnonce}:auth:{target}".encode()
        )
    else:
        fields["response"] = digest(f"{secret}:{nonce}:{target}".encode())
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    quoted = [f'{name}="{_escape(value)}"' for name, value in fields.items()]
    return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in bare.items())])


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
