"""A regtest bitcoin chain: real consensus below, Bitcoin Core's JSON-RPC on top."""
