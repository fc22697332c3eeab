"""What is installed here lies in the ranges that pyproject.toml declares, so a declared end is one that was run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import pytest
from packaging.requirements import Requirement


def declared() -> Iterator[Requirement]:
    """The core's requirements, and those of each orchestrator that is installed."""
    for line in requires("headwater") or ():
        wanted = Requirement(line)
        extras = {extra for extra in ("", "prefect", "airflow", "dagster", "test") if marked(wanted, extra)}
        if extras and (extras & {"", "test"} or is_installed(wanted.name)):
            yield wanted


def marked(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


@pytest.mark.parametrize("wanted", list(declared()), ids=lambda wanted: wanted.name)
def test_what_is_installed_is_what_is_declared(wanted: Requirement) -> None:
    assert wanted.specifier.contains(version(wanted.name), prereleases=True)


def test_an_orchestrator_is_among_them() -> None:
    assert {wanted.name for wanted in declared()} & {"prefect", "apache-airflow", "dagster"}
