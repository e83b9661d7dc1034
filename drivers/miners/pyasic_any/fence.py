"""Keeps the pyasic child inside the plant's network.

pyasic follows redirects and has calls that post to a host on the Internet. An audit hook, which no
library can remove, lets a socket connect only to hosts that the parent named, and lets no name be
resolved.
"""

import ipaddress
import sys
from typing import Any

_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_RESOLVING = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex"})


class Fence:
    """The hosts that may be reached. Once put up, it stays for the life of the process."""

    def __init__(self) -> None:
        self._hosts: set[str] = set()

    def admit(self, host: str) -> None:
        """Let `host` be reached. Raises ValueError unless it is an IP address."""
        self._hosts.add(str(ipaddress.ip_address(host)))

    def put_up(self) -> None:
        """Begin to refuse everything else, with PermissionError."""
        sys.addaudithook(self.check)

    def check(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise PermissionError for an event that would leave the fence."""
        if event in _CONNECTING:
            address = arguments[1] if len(arguments) > 1 else None
            if isinstance(address, tuple) and address[0] not in self._hosts:
                raise PermissionError(f"connection to {address[0]!r} is outside the fence")
        elif event in _RESOLVING:
            host = arguments[0] if arguments else None
            if host not in self._hosts:
                raise PermissionError(f"name {host!r} is outside the fence")
