"""A repository whose outside can fail at any call, and the promises to check after each bad day."""

from __future__ import annotations

from dataclasses import replace

import headwater as hw
from headwater.heartbeat import Leases
from headwater.model.records import Query
from headwater.repository import Repository
from headwater.store.blobs import BlobStore
from headwater.upkeep import verify
from tests.faults import Fault, Faulty


class Crash(BaseException):
    """The process ends here, as far as the code under test can tell: nothing may catch it."""


def faulted(repo: Repository, fault: Fault | None) -> tuple[Repository, Faulty, Faulty]:
    """The same repository seen by a process in which every storage and catalog call can fail."""
    objects, catalog = Faulty(repo.home.objects, fault), Faulty(repo.home.catalog, fault)
    objects._record = catalog._record  # one count over both
    home = replace(
        repo.home, objects=objects, catalog=catalog, blobs=BlobStore(objects, catalog.packs),
        leases=Leases(catalog.packs, "crasher"), statcache=None,
    )  # fmt: skip
    return Repository(home), objects, catalog


def files_of(version: hw.Version) -> dict[str, bytes]:
    return {entry.path: version.open(entry.path).read() for entry in version.entries()}


def assert_promises(repo: Repository, expected: dict[str, dict[int, dict[str, bytes]]]) -> None:
    """Every published version is whole and as expected; numbers are dense; nothing else is visible."""
    report = verify(repo.home)
    assert not report.findings, report.findings
    found: dict[str, dict[int, dict[str, bytes]]] = {}
    for record in repo.home.catalog.versions.versions(Query()):
        found.setdefault(record.artifact, {})[record.number] = files_of(hw.Version(record, repo.home))
    assert found == {name: versions for name, versions in expected.items() if versions}
