"""Fixtures that many modules ask for by name."""

from tests.services.chain_ground import chain
from tests.services.chain_wallet import funded
from tests.services.databases import influx
from tests.services.pool_ground import pool
from tests.services.treasury_ground import aged, aged_simulated

__all__ = ["aged", "aged_simulated", "chain", "funded", "influx", "pool"]
