"""Fixtures that many modules ask for by name."""

from tests.services.chain_ground import chain
from tests.services.chain_wallet import funded

__all__ = ["chain", "funded"]
