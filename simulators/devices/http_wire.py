"""HTTP/1.1 as bytes, server side: cut requests out of a buffer, write answers. No IO."""

from http import HTTPStatus

from simulators.devices.persona import Close, HttpAnswer, HttpRequest

HEAD_BYTES_MAX = 16_384
BODY_BYTES_MAX = 262_144
HEADERS_MAX = 64
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpWireError(ValueError):
    """Not a request that this server takes; `status` is the answer before the connection is
    closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def take_request(buffer: bytearray) -> HttpRequest | None:
    """Cut the first request out of the buffer; None while it is not whole. Raises HttpWireError."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > HEAD_BYTES_MAX:
            raise HttpWireError(431, "head of the request is too large")
        return None
    if end > HEAD_BYTES_MAX:
        raise HttpWireError(431, "head of the request is too large")
    first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
    if len(lines) > HEADERS_MAX:
        raise HttpWireError(431, "too many headers")
    method, target = _request_line(first)
    headers = _headers(lines)
    length = _body_length(headers)
    body_at = end + 4
    if len(buffer) < body_at + length:
        return None
    body = bytes(buffer[body_at : body_at + length])
    del buffer[: body_at + length]
    path, _, query = target.partition("?")
    return HttpRequest(method=method, path=path, query=query, headers=headers, body=body)


def wants_close(request: HttpRequest) -> bool:
    """The client asked to close the connection after this request."""
    return request.headers.get("connection", "").lower() == "close"


def write_answer(answer: HttpAnswer, *, head_only: bool = False) -> bytes:
    """The answer as it goes over the wire."""
    body = answer.body or b""
    if answer.raw:
        return body
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    if answer.close is not Close.KEEP:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + body


def _request_line(line: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] not in METHODS or not parts[2].startswith("HTTP/1."):
        raise HttpWireError(400, "not an HTTP/1 request line")
    if not parts[1].startswith("/"):
        raise HttpWireError(400, "target is not a path")
    return parts[0], parts[1]


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise HttpWireError(400, "malformed header")
        headers[name.lower()] = value.strip()
    return headers


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise HttpWireError(411, "only bodies with Content-Length are taken")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise HttpWireError(400, "Content-Length is no number")
    length = int(text)
    if length > BODY_BYTES_MAX:
        raise HttpWireError(413, "body is too large")
    return length
