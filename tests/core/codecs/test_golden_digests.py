"""Equal values give equal bytes: on every Python, in every process, whatever the hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.core.codecs.samples import SAMPLES, Point, digests

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
ROOT = Path(__file__).parents[3]


class Place(typing.NamedTuple):
    x: int
    y: float


def test_every_sample_has_a_golden_digest():
    assert set(GOLDEN) == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_are_the_committed_ones(name):
    assert json.loads(json.dumps(digests(SAMPLES[name]()))) == GOLDEN[name]


def test_another_process_with_another_hash_seed_writes_the_same_bytes():
    environment = os.environ | {"PYTHONHASHSEED": "4242", "PYTHONPATH": f"{ROOT / 'core'}:{ROOT}"}
    program = "from tests.core.codecs.samples import print_digests; print_digests()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == GOLDEN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1, 2}, {2, 3, 1}),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (np.arange(10)[::2], np.array([0, 2, 4, 6, 8])),
        (pa.table({"a": [1, 2]}), pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})])),
        (pa.table({"a": [1, 2]}), pa.table({"a": [0, 1, 2]}).slice(1)),
        (pl.DataFrame({"a": ["x", "y"]}), pl.concat([pl.DataFrame({"a": [c]}) for c in "xy"], rechunk=False)),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [0, 1, 2]}).iloc[1:].reset_index(drop=True)),
    ],
)
def test_equal_values_made_differently_give_equal_bytes(one, other):
    assert digests(one) == digests(other)


def test_padding_between_fields_does_not_reach_the_file():
    padded = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    clean, dirty = np.zeros(2, padded), np.frombuffer(b"\xff" * (2 * padded.itemsize), padded).copy()
    dirty["a"], dirty["b"] = 0, 0
    assert digests(clean) == digests(dirty)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), ([1], (1,)), ({1: 1}, {"1": 1}), (0.0, -0.0), ({1}, frozenset({1}))]
)
def test_different_values_give_different_bytes(one, other):
    assert digests(one) != digests(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Point(1, 2.0), {"x": 1, "y": 2.0}),
        (Point(1, 2.0), Place(1, 2.0)),
        (pa.table({"a": [1]}), pa.record_batch({"a": [1]})),
        (pl.DataFrame({"a": [1]}), pl.LazyFrame({"a": [1]})),
        (pd.Series([1], name="a"), pd.Series([1], name="b")),
        (b"a", "a"),
    ],
)
def test_what_loads_as_another_type_is_another_content(one, other):
    """Equal content makes no new version, so it must never load as something else."""
    ours, theirs = digests(one), digests(other)
    assert ours.pop("codec") != theirs.pop("codec")
    assert ours != theirs


def test_an_insertion_leaves_most_pages_of_a_parquet_file_alone(tmp_path):
    from headwater.model import chunker
    from tests.core.codecs.samples import write

    rng = np.random.default_rng(0)
    before = pa.table({"a": rng.integers(0, 1 << 60, 400_000), "b": rng.random(400_000)})
    after = pa.concat_tables([before.slice(0, 1000), before.slice(0, 3), before.slice(1000)])
    kept = []
    for name, table in (("before", before), ("after", after)):
        _, tree = write(table, tmp_path / name)
        data = (next(tree.glob("*.parquet"))).read_bytes()
        kept.append({bytes(chunk) for chunk in chunker.split(data)})
    new = sum(len(chunk) for chunk in kept[1] - kept[0])
    assert new < 0.5 * sum(len(chunk) for chunk in kept[1])
