"""What every catalog must do. Subclass it and give it a catalog on a clock of the test's.

    class TestMyCatalog(CatalogContract):
        @pytest.fixture
        def catalog(self, clock): return my_catalog(clock=clock)

`clock` is a fixture of this class; a catalog that collects has `.collector`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.catalog_packs import PackContract
from tests.contracts.catalog_runs import RunContract
from tests.contracts.catalog_search import SearchContract
from tests.contracts.catalog_versions import VersionContract
from tests.contracts.catalog_world import Clock, World


class CatalogContract(VersionContract, RunContract, PackContract, SearchContract):
    """The contract; needs the fixture `catalog`, and closes what it gives."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def world(self, catalog) -> Iterator[World]:
        yield World(catalog)
        catalog.close()
