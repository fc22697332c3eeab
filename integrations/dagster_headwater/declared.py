"""What `deps=` declares becomes uses: the exact upstream version, though nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import headwater as hw
from dagster_headwater import seams
from dagster_headwater.naming import asset_artifact, selector_of, with_partition, word
from headwater.adapter import parse_name

ROLE = "declared"


def use_declared(step: Any, run: hw.Run, repo: hw.Repository) -> None:
    """Record a use of every asset the step depends on without loading it; idempotent.

    What is not in this repository is somebody else's data, and left out.
    """
    for declared in seams.declared_of(step):
        for name in _names(declared):
            try:
                version = repo.version(str(parse_name(name).within(run.project)), group=run.group)
            except hw.NotFoundError:
                continue
            if not run.knows(version):
                run.use_artifact(version, role=ROLE)


def _names(declared: seams.Declared) -> Iterator[str]:
    artifact = asset_artifact(declared.key, declared.metadata)
    digest = declared.digest if declared.digest and declared.digest.startswith("blake3:") else None
    alias = word(declared.metadata, "alias")
    if declared.partitions is None:
        yield with_partition(artifact, None, selector_of(digest, alias))
    for partition in declared.partitions or ():
        yield with_partition(artifact, partition, selector_of(None, alias))
