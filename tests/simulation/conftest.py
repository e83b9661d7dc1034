"""Where scenarios are played: a fresh folder a test, and silence about what is only a warning."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.simulation.ground import Ground


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Provoked faults are logged in plenty; only errors are worth reading after a failure."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A folder of one's own."""
    return Ground(tmp_path)
