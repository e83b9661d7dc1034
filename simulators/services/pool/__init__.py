"""A mining pool that pays, on a real chain, for what the simulated fleet really hashed.

It sees no miner. It reads the plant's true state, earns FPPS-like from it, and answers the read API
of a pool whose shape is public, so that the treasury's adapter meets what it would meet outside.
"""
