"""The catalog contract on a SQLite file, on SQLite in memory, and on PostgreSQL."""

from __future__ import annotations

import pytest

from headwater.catalog.sql import create
from tests.contracts.catalog_contract import CatalogContract
from tests.postgres import cluster


class TestSQLiteFile(CatalogContract):
    @pytest.fixture
    def catalog(self, clock, tmp_path):
        return create(f"sqlite:///{tmp_path}/catalog.sqlite", clock=clock)


class TestSQLiteMemory(CatalogContract):
    @pytest.fixture
    def catalog(self, clock):
        return create("sqlite://", clock=clock)


@pytest.mark.slow
class TestPostgreSQL(CatalogContract):
    @pytest.fixture
    def catalog(self, clock):
        return create(cluster().new_database(), clock=clock)
