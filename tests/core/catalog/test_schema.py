"""The schema: made at once or step by step it is the same; older and newer code are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.catalog.engine import Database
from headwater.catalog.migrate import describe, run_migrations, upgrade
from headwater.catalog.sql import create, open_catalog
from headwater.catalog.tables import SCHEMA, WRITER
from headwater.errors import ConflictError, FormatError, InvalidInputError, NotFoundError, StateError
from tests.contracts.catalog_world import World
from tests.postgres import cluster

GOLDEN = Path(__file__).parent / "schema.golden.json"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def new_url(request, tmp_path):
    """Makes URLs of empty databases."""
    names = iter(range(9))
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{next(names)}.sqlite"
    return lambda: cluster().new_database()


def shape(url: str):
    database = Database(url)
    try:
        return database.read(lambda tx: describe(tx.conn))
    finally:
        database.close()


def test_migrating_from_nothing_makes_what_create_makes(new_url):
    made, migrated = new_url(), new_url()
    create(made).close()
    database = Database(migrated)
    database.define(lambda tx: run_migrations(tx.conn, "head"))
    database.close()
    assert shape(migrated) == shape(made)


def test_the_schema_is_the_one_on_record(tmp_path):
    url = f"sqlite:///{tmp_path}/a.sqlite"
    create(url).close()
    found = json.loads(json.dumps(shape(url)))
    assert found == json.loads(GOLDEN.read_text()), "a changed schema needs a migration, and then a new golden file"


def test_upgrading_what_is_new_changes_nothing_and_loses_nothing(new_url):
    url = new_url()
    catalog = create(url)
    World(catalog).commit("a", "one")
    catalog.close()
    before = shape(url)
    assert upgrade(url) == SCHEMA
    assert shape(url) == before and World(open_catalog(url)).find("a").number == 0


def test_there_is_one_repository_at_a_url(new_url):
    url = new_url()
    with pytest.raises(NotFoundError):
        open_catalog(url)
    first = create(url, objects="file:///x")
    assert first.setting("objects") == "file:///x"
    with pytest.raises(ConflictError):
        create(url)
    assert open_catalog(url).repository_id == first.repository_id
    first.close()


def test_a_catalog_for_newer_readers_is_not_opened(new_url):
    url = new_url()
    catalog = create(url)
    catalog.set_setting("min_reader", "99")
    catalog.close()
    with pytest.raises(FormatError, match="upgrade headwater"):
        open_catalog(url)


def test_an_old_writer_is_refused_at_its_next_commit_and_still_reads(new_url):
    url = new_url()
    old = World(create(url))
    old.commit("a", "one")
    old.catalog.set_setting("min_writer", str(WRITER + 1))
    with pytest.raises(FormatError, match="generation"):
        old.commit("a", "two")
    assert old.find("a").number == 0
    old.catalog.close()


def test_an_old_schema_asks_for_an_upgrade(tmp_path):
    url = f"sqlite:///{tmp_path}/a.sqlite"
    create(url).close()
    database = Database(url)
    database.define(lambda tx: tx.run("UPDATE alembic_version SET version_num = '0000'"))
    database.close()
    with pytest.raises(StateError, match="upgrade"):
        open_catalog(url)


def test_what_is_no_catalog_url_is_refused_without_repeating_it():
    for url in ("mysql://u:secret@h/d", "nonsense secret", "sqlite+aiosqlite://secret"):
        with pytest.raises(InvalidInputError) as refused:
            open_catalog(url)
        assert "secret" not in str(refused.value)
