"""How our processes on one host speak with each other: Unix sockets, length-prefixed msgpack."""
