"""What we need of Dagster that is not public is there in the Dagster that is installed."""

import ast
from pathlib import Path

import dagster as dg

import dagster_headwater
from dagster_headwater import seams


def test_private_dagster_is_named_in_one_file_only():
    folder = Path(dagster_headwater.__file__).parent
    for path in folder.rglob("*.py"):
        names = [n.module or "" for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        private = [name for name in names if name.startswith("dagster._")]
        assert private in ([], ["dagster._core.libraries"]), path


def test_private_attributes_of_dagster_are_read_in_one_file_only():
    folder = Path(dagster_headwater.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name == "seams.py":
            continue
        tree = ast.walk(ast.parse(path.read_text()))
        names = [n.attr for n in tree if isinstance(n, ast.Attribute) and not _is_self(n.value)]
        assert not [name for name in names if name.startswith("_") and not name.startswith("__")], path
        assert 'getattr(context, "_' not in path.read_text(), path


def _is_self(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_the_library_is_registered_as_dagsters_libraries_are():
    from dagster_shared.libraries import DagsterLibraryRegistry

    assert DagsterLibraryRegistry.get()["dagster-headwater"] == dagster_headwater.__version__


def test_every_seam_holds_on_this_dagster(run, instance):
    seen = []

    @dg.asset
    def one() -> int:
        return 1

    @dg.asset(deps=[one])
    def two(context: dg.AssetExecutionContext) -> None:
        step = seams.current_step()
        seen.extend(
            [step, seams.step_of(context), seams.kind_of(step), seams.partition_of(step), seams.raw_config(step)]
        )
        seen.append([(found.key.path, found.partitions) for found in seams.declared_of(step)])

    result = run([one, two])
    assert seen[0] is seen[1] is not None
    assert seen[2:] == ["asset", None, None, [(["one"], None)]]
    assert seams.current_step() is None
    ends = seams.ends_of(instance, result.run_id)
    assert {name: [end.state for end in found] for name, found in ends.items()} == {
        "one": ["finished"], "two": ["finished"],
    }  # fmt: skip


def test_where_a_seam_is_missing_the_answer_is_less_and_no_error():
    class Bare:
        def __getattr__(self, name):
            raise AttributeError(name)

    assert seams.attempted(Bare()) is None
    assert seams.declared_of(Bare()) == []
    assert seams.is_fan_in(Bare(), "x") is False
    assert seams.said(Bare(), "name", "result") == "result"
