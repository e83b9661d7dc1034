"""Errors of calls, by the codes that Bitcoin Core gives them."""

MISC = -1
TYPE = -3
ADDRESS_OR_KEY = -5
PARAMETER = -8
DESERIALIZATION = -22
VERIFY = -25
VERIFY_REJECTED = -26
ALREADY_IN_CHAIN = -27
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
PARSE = -32700


class CallError(Exception):
    """A call that is refused, as its caller reads it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
