"""The laws of the house (design, section 5), read from the imports and enforced.

A new module of the core gets a floor in FLOORS, or the first test fails: say
where it stands before writing what it does.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core"
INTEGRATIONS = ROOT / "integrations"

FLOORS: list[set[str]] = [
    {"errors"},
    {"model"},
    {"callers", "ports", "disk", "forks", "lazy", "settings"},
    {"backends", "store", "catalog", "codecs", "heartbeat"},
    {"sources", "contents", "references", "artifact", "upload", "download"},
    {"home", "handle", "lookup", "code", "runfacts", "runspec", "examination"},
    {"version", "publishing", "joined", "checking", "conversion", "diff", "status", "artifactinfo", "pydantic_schema"},
    {"run"},
    {"repository", "upkeep", "spool"},
    {"steps", "server"},
    {"connect"},
    {"adapter", "exchange", "restoring", "testing"},
    {"demo"},
    {"cli"},
]
"""Lower floors first. A module imports its own floor (without circles) and those below."""

STRANGERS = {"backends", "store", "catalog"}
"""Neighbours that never import each other: they meet only in ports, model and errors."""

SDK_HOMES = {
    "boto3": "backends/s3",
    "botocore": "backends/s3",
    "google": "backends/gcs",
    "azure": "backends/azure",
    "requests": "backends/http",
    "sqlalchemy": "catalog",
    "alembic": "catalog",
    "fastapi": "server",
    "starlette": "server",
    "uvicorn": "server",
    "jinja2": "server",
    "pandas": "codecs",
    "polars": "codecs",
    "pyarrow": "codecs",
    "click": "cli",
    "pyfastcdc": "model/chunker",
    "prefect": None,
    "airflow": None,
    "dagster": None,
}
"""The one file or folder of the core that may import each outside SDK (None: none may)."""

ADAPTERS = {"prefect_headwater", "airflow_headwater", "dagster_headwater"}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}
OUTSIDE = {"os", "io", "time", "random", "secrets", "uuid", "socket", "subprocess", "shutil", "tempfile", "threading",
           "multiprocessing", "sqlite3", "urllib.request", "http", "glob", "logging"}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "fromtimestamp", "urandom", "getenv", "environ"}
THREADED = {"upload", "download", "heartbeat", "server"}
MAX_LINES = 400


class Import(NamedTuple):
    """One import statement: what it names, and where it stands."""

    target: str
    names: tuple[str, ...]
    where: str


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def module_of(path: Path) -> str:
    parts = path.relative_to(CORE if path.is_relative_to(CORE) else INTEGRATIONS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, those inside functions and under TYPE_CHECKING too: circles hide there."""
    for node in ast.walk(parsed(path)):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), where)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: imports are absolute"
            yield Import(node.module or "", tuple(alias.name for alias in node.names), where)


def own_targets(found: Import, modules: set[str]) -> Iterator[str]:
    """The modules of ours that an import reaches: `from a import b` reaches a.b where that is a module."""
    if found.target.split(".")[0] != "headwater":
        return
    submodules = [f"{found.target}.{name}" for name in found.names if f"{found.target}.{name}" in modules]
    yield from submodules or [found.target]


def unit(module: str) -> str:
    """`headwater.store.packs` → `store`; the package itself is ``."""
    return module.split(".")[1] if "." in module else ""


CORE_FILES = sources(CORE)
ADAPTER_FILES = sources(INTEGRATIONS) if INTEGRATIONS.exists() else []
MODULES = {module_of(path): path for path in CORE_FILES}
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def test_every_module_has_a_floor() -> None:
    homeless = {unit(module) for module in MODULES} - FLOOR.keys() - {"", "__main__"}
    assert not homeless, f"give {sorted(homeless)} a floor in FLOORS"


def test_a_module_imports_only_its_own_floor_and_lower_ones() -> None:
    wrong = []
    for module, path in MODULES.items():
        if unit(module) in ("", "__main__"):  # the public names: the roof, it may see everything
            continue
        for found in imports_of(path):
            for target in own_targets(found, set(MODULES)):
                if unit(target) == "" and unit(module) not in ("cli", "demo", "server"):
                    wrong.append(f"{found.where} imports the public package: name the module instead")
                elif unit(target) and FLOOR[unit(target)] > FLOOR[unit(module)]:
                    wrong.append(f"{found.where} reaches up to {target}")
    assert not wrong, "\n".join(wrong)


def test_backends_store_and_catalog_do_not_know_each_other() -> None:
    wrong = [
        f"{found.where} imports {target}"
        for module, path in MODULES.items()
        if unit(module) in STRANGERS
        for found in imports_of(path)
        for target in own_targets(found, set(MODULES))
        if unit(target) in STRANGERS - {unit(module)}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports_not_even_inside_functions() -> None:
    graph = {
        module: {t for found in imports_of(path) for t in own_targets(found, set(MODULES))} - {module}
        for module, path in MODULES.items()
        if unit(module)
    }
    state: dict[str, str] = {}

    def walk(module: str, trail: list[str]) -> list[str]:
        if state.get(module) == "done" or module not in graph:
            return []
        if state.get(module) == "open":
            return [*trail[trail.index(module) :], module]
        state[module] = "open"
        for target in sorted(graph[module]):
            if circle := walk(target, [*trail, module]):
                return circle
        state[module] = "done"
        return []

    for module in sorted(graph):
        circle = walk(module, [])
        assert not circle, " → ".join(circle)


def test_each_outside_sdk_is_imported_in_exactly_one_place() -> None:
    wrong = []
    for path in CORE_FILES:
        place = path.relative_to(CORE / "headwater").with_suffix("").as_posix()
        for found in imports_of(path):
            sdk = found.target.split(".")[0]
            if sdk in SDK_HOMES:
                home = SDK_HOMES[sdk]
                if home is None or not (place == home or place.startswith((f"{home}/", f"{home}_"))):
                    wrong.append(f"{found.where} imports {sdk}, which belongs to {home or 'an integration'}")
    assert not wrong, "\n".join(wrong)


def test_the_model_opens_nothing_and_reads_no_clock() -> None:
    wrong = []
    for path in sources(CORE / "headwater" / "model"):
        wrong += [f"{found.where} imports {found.target}" for found in imports_of(path) if found.target in OUTSIDE]
        for node in ast.walk(parsed(path)):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "print"):
                wrong.append(f"{where} calls {node.func.id}()")
            if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
                wrong.append(f"{where} reads .{node.attr}")
    assert not wrong, "\n".join(wrong)


def test_threads_are_made_in_few_places() -> None:
    makers = {"Thread", "ThreadPoolExecutor", "ProcessPoolExecutor", "Timer"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} makes a {name}"
        for module, path in MODULES.items()
        if unit(module) not in THREADED
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and (name := getattr(node.func, "attr", getattr(node.func, "id", ""))) in makers
    ]
    assert not wrong, "\n".join(wrong)


def test_integrations_use_only_public_names() -> None:
    public = public_names()
    wrong = []
    for path in ADAPTER_FILES:
        tree = parsed(path)
        aliases = {"headwater"} & {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                aliases |= {a.asname for a in node.names if a.name == "headwater" and a.asname}
        for found in imports_of(path):
            if found.target == "headwater.adapter":
                continue
            if found.target.startswith("headwater."):
                wrong.append(f"{found.where} imports {found.target}: `headwater.adapter` is all an adapter needs")
            elif found.target == "headwater":
                wrong += [f"{found.where} imports {n}" for n in found.names if n not in public | {"adapter"}]
        for node in ast.walk(tree):
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
            if named and node.attr not in public:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} uses headwater.{node.attr}")
    assert not wrong, "\n".join(wrong)


def test_integrations_do_not_know_each_other() -> None:
    wrong = [
        f"{found.where} imports {found.target}"
        for path in ADAPTER_FILES
        for found in imports_of(path)
        if found.target.split(".")[0] in ADAPTERS - {path.relative_to(INTEGRATIONS).parts[0]}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", CORE_FILES + ADAPTER_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_a_telling_name_and_at_most_400_lines(path: Path) -> None:
    named = {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}
    assert not named & FORBIDDEN_NAMES
    assert len(path.read_text().splitlines()) <= MAX_LINES, "is there a missing noun?"


def test_functions_are_mostly_short() -> None:
    """The style's budget: nine in ten bodies within 35 lines, half within 15, docstrings aside."""
    lengths = [body_lines(node) for path in CORE_FILES for node in ast.walk(parsed(path))
               if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]  # fmt: skip
    tenths = quantiles(lengths, n=10)
    assert tenths[4] <= 15, f"median {tenths[4]}"
    assert tenths[8] <= 35, f"ninth tenth {tenths[8]}"


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = node.body[1:] if documented else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_every_source_file_says_what_it_is() -> None:
    silent = [str(p.relative_to(ROOT)) for p in CORE_FILES + ADAPTER_FILES
              if p.read_text().strip() and not ast.get_docstring(parsed(p))
              and "migrations/versions" not in p.as_posix()]  # fmt: skip
    assert not silent


IMPORT_PROBE = """
import json, os, sys, threading
before = (set(sys.modules), dict(os.environ), os.getcwd())
import headwater
print(json.dumps({
    "loaded": sorted({name.split(".")[0] for name in set(sys.modules) - before[0]}),
    "threads": threading.active_count(),
    "same_world": dict(os.environ) == before[1] and os.getcwd() == before[2],
}))
"""
HEAVY = {"boto3", "botocore", "google", "azure", "sqlalchemy", "alembic", "fastapi", "starlette", "uvicorn", "jinja2",
         "pandas", "numpy", "polars", "pyarrow", "rich", "click", "requests", "httpx", "pydantic", "prefect", "airflow",
         "dagster", "sklearn", "asyncio", "multiprocessing", "importlib_metadata"}  # fmt: skip


def test_importing_headwater_is_light_and_touches_nothing(tmp_path: Path) -> None:
    home = tmp_path / "empty"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(CORE), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_PROBE], env=environment, cwd=home, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert not HEAVY & set(report["loaded"])
    assert report["threads"] == 1
    assert report["same_world"]
    assert not list(home.iterdir()), "import wrote something"


def public_names() -> set[str]:
    tree = ast.parse((CORE / "headwater" / "__init__.py").read_text())
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return {ast.literal_eval(item) for item in node.value.elts}  # type: ignore[union-attr]
    raise AssertionError("headwater/__init__.py has no literal __all__")
