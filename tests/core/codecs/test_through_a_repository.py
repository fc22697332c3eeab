"""Values logged and loaded again, as a user does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from headwater import settings
from headwater.connect import connect
from headwater.errors import InvalidInputError
from headwater.model.naming import name as valid_name
from tests.core.codecs.samples import SAMPLES, Config, config
from tests.core.codecs.test_registry import Opaque
from tests.core.codecs.test_round_trips import assert_same


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "_suggested", {})
        patch.setenv("HEADWATER_CACHE", str(tmp_path_factory.mktemp("cache")))
        with connect(tmp_path_factory.mktemp("repository") / "r") as opened:
            yield opened


@pytest.fixture(scope="module")
def run(repository):
    with repository.start_run("values", capture=()) as started:
        yield started


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_logged_value_loads_as_what_it_was_and_logs_once(repository, run, sample):
    made = run.log_artifact(SAMPLES[sample](), valid_name(sample))
    assert_same(repository.version(made.name).load(), SAMPLES[sample]())
    again = run.log_artifact(SAMPLES[sample](), valid_name(sample))
    assert again == made


def test_a_path_loads_as_a_path_to_read(run, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("a")
    folder = run.log_artifact(tmp_path / "d", "folder").load()
    assert (folder / "a.txt").read_text() == "a"
    file = run.log_artifact(tmp_path / "d" / "a.txt", "file").load()
    assert (file.name, file.read_text()) == ("a.txt", "a")
    assert run.log_artifact(str(tmp_path / "d"), "text").load() == str(tmp_path / "d")
    assert (run.log_artifact(str(tmp_path / "d"), "declared", declared=Path).load() / "a.txt").exists()


def test_a_value_loads_as_another_type(run):
    table = run.log_artifact(pd.DataFrame({"a": [1, 2]}), "table")
    assert table.load(pl.DataFrame)["a"].to_list() == [1, 2]
    assert table.load(dict) == {"a": [1, 2]}
    assert table.load(Path).suffix == ".parquet"
    assert run.log_artifact(config(), "config").load(Config) == config()
    assert run.log_artifact(np.arange(3), "array").load(list) == [0, 1, 2]


def test_pickle_needs_permission_on_both_sides(run):
    with pytest.raises(InvalidInputError, match="allow_pickle"):
        run.log_artifact(Opaque(2), "opaque")
    made = run.log_artifact(Opaque(2), "opaque", allow_pickle=True)
    with pytest.raises(InvalidInputError, match="allow_pickle"):
        made.load()
    assert made.load(allow_pickle=True) == Opaque(2)


def test_a_small_change_of_a_large_table_stores_little(repository, run):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.integers(0, 1 << 60, 500_000), "b": rng.random(500_000)})
    run.log_artifact(frame, "large")
    before = _stored(repository)
    run.log_artifact(
        pd.concat([frame.iloc[:250_000], frame.iloc[:5], frame.iloc[250_000:]], ignore_index=True), "large"
    )
    assert _stored(repository) - before < 0.4 * frame.memory_usage().sum()


def _stored(repository) -> int:
    return sum(size for _, _, _, size in repository.home.catalog.packs.packs())
