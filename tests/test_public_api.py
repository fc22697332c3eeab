"""The names of `import headwater` are those of the design, section 4, no more and no less."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import headwater as hw
from headwater import adapter

VERBS = {
    "connect",
    "configure",
    "start_run",
    "current_run",
    "use",
    "log",
    "scratch",
    "step",
    "pinned",
    "name",
    "run_as",
}
NOUNS = {"Artifact", "ArtifactInfo", "Graph", "Repository", "Run", "RunIdentity", "RunInfo", "Version", "Log", "Use"}
ERRORS = {
    "HeadwaterError", "InvalidInputError", "NotFoundError", "ArtifactNotFoundError", "VersionNotFoundError",
    "RunNotFoundError", "EntryNotFoundError", "ReferenceMissingError", "PurgedError", "ConflictError", "StateError",
    "AccessError", "CredentialsError", "StorageError", "IntegrityError", "DigestMismatchError", "MissingBlobError",
    "ReferenceChangedError", "SourceChangedError", "FormatError",
}  # fmt: skip

SPELLINGS = {
    "Artifact": "add_file add_dir add_reference add_bytes new_file remove name type metadata description",
    "Version": "id name version number digest type size aliases tags metadata description load entries fetch download "
    "checkout open verify diff new_draft delete save history logged_by used_by upstream downstream publish discard",
    "Repository": "version set_alias run artifacts artifact runs events",
    "ArtifactInfo": "versions partitions description tags",
    "Run": "use_artifact log_artifact summary config finish log_code",
    "RunInfo": "id key used_artifacts logged_artifacts attempts state",
    "Graph": "to_json to_dot to_mermaid to_svg tree",
}
ARGUMENTS = {
    "start_run": "name project config group parent key",
    "configure": "url project tracking",
    "step": "log project",
    "Artifact.add_reference": "uri name pin max_objects on_unavailable",
    "Version.fetch": "root prefix references allow_missing_references",
    "Version.delete": "delete_aliases",
    "Repository.set_alias": "name to expect",
    "Repository.runs": "project group where order limit",
    "Repository.events": "after consumer",
    "Run.log_artifact": "aliases publish",
}


def test_all_is_exactly_what_the_design_names() -> None:
    assert set(hw.__all__) == VERBS | NOUNS | ERRORS
    assert len(hw.__all__) == len(set(hw.__all__))


@pytest.mark.parametrize("name", sorted(VERBS | NOUNS | ERRORS))
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(hw, name)), f"headwater.{name} has no docstring"


@pytest.mark.parametrize(("owner", "name"), [(o, n) for o, names in SPELLINGS.items() for n in names.split()])
def test_the_spellings_of_the_design_hold(owner: str, name: str) -> None:
    cls = getattr(hw, owner)
    own = [base for base in cls.__mro__ if base.__module__.startswith("headwater.")]
    assert hasattr(cls, name) or any(f"self.{name}" in inspect.getsource(base) for base in own), f"{owner}.{name}"


@pytest.mark.parametrize(("path", "names"), ARGUMENTS.items())
def test_the_arguments_of_the_design_hold(path: str, names: str) -> None:
    found: object = hw
    for part in path.split("."):
        found = getattr(found, part)
    assert callable(found)
    assert set(names.split()) <= set(inspect.signature(found).parameters)


@pytest.mark.parametrize("cls", [hw.Artifact, hw.Version, hw.Run, hw.Repository, hw.ArtifactInfo])
def test_every_public_method_has_a_contract(cls: type) -> None:
    silent = [
        name
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and callable(member) and not inspect.getdoc(member)
    ]
    assert not silent


@pytest.mark.parametrize("cls", [hw.Artifact, hw.Version, hw.Run, hw.Repository, hw.RunInfo])
def test_no_public_class_has_a_method_called_resolve(cls: type) -> None:
    assert not hasattr(cls, "resolve")  # Airflow's templating would call it


def test_what_is_not_public_is_not_offered() -> None:
    offered = {name for name in dir(hw) if not name.startswith("_") and not inspect.ismodule(getattr(hw, name))}
    assert offered <= set(hw.__all__) | {"annotations"}


@pytest.mark.parametrize("module", [hw, adapter])
def test_what_type_checkers_read_is_what_loads_when_it_is_touched(module: ModuleType) -> None:
    block = next(node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(homes) == sorted(module.__all__)
    for name, home in homes.items():
        assert getattr(module, name) is getattr(import_module(str(home)), name)


@pytest.mark.parametrize("module", [hw, adapter])
def test_the_module_travels_by_name_in_a_function_that_holds_it(module: ModuleType) -> None:
    assert pickle.loads(pickle.dumps(module)) is module


DECLARES = """
import sys
import headwater as hw
hw.Log("cnn", type="model"), hw.Use("mnist:latest"), hw.Version[str], hw.name("a"), hw.HeadwaterError
print(*sorted(name for name in sys.modules if name.startswith("headwater.")))
import headwater.connect
assert hw.connect.__name__ == "connect" and callable(hw.connect), "the module took the verb's place"
"""


def test_who_only_declares_loads_neither_uploads_nor_downloads_nor_catalogs() -> None:
    done = subprocess.run([sys.executable, "-c", DECLARES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[1] for name in done.stdout.split()} == {
        "errors", "handle", "lazy", "lookup", "model", "steps", "version"}  # fmt: skip
