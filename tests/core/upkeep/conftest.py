"""Repositories on a clock of the test's."""

from __future__ import annotations

import pytest

from tests.contracts.catalog_world import Clock
from tests.stateful.clocked import clocked


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def repo(clock):
    with clocked(clock) as repository:
        yield repository
