"""Fixtures that many modules ask for by name."""

from tests.services.chain_ground import chain

__all__ = ["chain"]
