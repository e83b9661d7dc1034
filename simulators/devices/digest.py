"""HTTP digest authentication, server side (RFC 7616 with MD5 and qop=auth), as lighttpd does it on
Antminers."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import md5, sha256

from simulators.devices.persona import HttpRequest

NONCE_LIFE_S = 600
"""lighttpd refuses a nonce older than ten minutes as stale."""
_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]*))')
HEADER_CHARS_MAX = 2_048


class Verdict(StrEnum):
    """What the server makes of an Authorization header."""

    GRANTED = "granted"
    REFUSED = "refused"
    STALE = "stale"


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _same(said: str, right: str) -> bool:
    return hmac.compare_digest(said.encode(), right.encode())


def fields_of(header: str) -> dict[str, str]:
    """Read the fields of an `Authorization: Digest …` header; empty when it is something else."""
    scheme, _, rest = header[:HEADER_CHARS_MAX].partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(rest)}


@dataclass(frozen=True, slots=True)
class DigestGate:
    """One realm with its logins; `secret` makes the nonces of this device its own."""

    realm: str
    logins: Mapping[str, str]
    secret: bytes

    def challenge(self, now_s: float, *, stale: bool = False) -> str:
        """Value of the WWW-Authenticate header."""
        issued = f"{int(now_s):08x}"
        text = f'Digest realm="{self.realm}", nonce="{issued}{self._mark(issued)}", qop="auth"'
        return text + ", stale=true" if stale else text

    def verdict(self, request: HttpRequest, now_s: float) -> Verdict:
        """Judge a request's Authorization header."""
        said = fields_of(request.headers.get("authorization", ""))
        user = said.get("username", "")
        password = self.logins.get(user)
        nonce = said.get("nonce", "")
        issued, mark = nonce[:8], nonce[8:]
        if password is None or said.get("realm") != self.realm:
            return Verdict.REFUSED
        if said.get("uri") != request.target or not _same(mark, self._mark(issued)):
            return Verdict.REFUSED
        secret = _md5(f"{user}:{self.realm}:{password}")
        action = _md5(f"{request.method}:{said['uri']}")
        if said.get("qop") != "auth":
            return Verdict.REFUSED
        middle = f"{nonce}:{said.get('nc', '')}:{said.get('cnonce', '')}:auth"
        if not _same(said.get("response", ""), _md5(f"{secret}:{middle}:{action}")):
            return Verdict.REFUSED
        return Verdict.STALE if now_s - int(issued, 16) > NONCE_LIFE_S else Verdict.GRANTED

    def _mark(self, issued: str) -> str:
        return sha256(self.secret + issued.encode()).hexdigest()[:24]
