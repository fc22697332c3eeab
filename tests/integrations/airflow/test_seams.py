"""What we need of Airflow that moved between its versions, or is not public, is there in the one that is installed."""

import ast
import importlib
from pathlib import Path

import airflow_headwater
from airflow_headwater import compat

FOLDER = Path(airflow_headwater.__file__).parent
OPTIONAL = "airflow.providers.openlineage"
"""A provider of its own, asked for when it calls."""


def test_every_module_of_ours_and_every_name_it_takes_from_airflow_is_there():
    for path in FOLDER.glob("*.py"):
        importlib.import_module(f"airflow_headwater.{path.stem}")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow."):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], path


def test_what_moved_is_found_at_one_of_its_places():
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "first_of":
                places = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                if len(places) == len(node.args) and not places[0].startswith(OPTIONAL):
                    assert compat.first_of(*places) is not None, path


def test_airflow_still_answers_to_what_we_call():
    assert compat.option("load_examples", section="core") == "False"
    assert issubclass(compat.skips(), Exception)
    assert len(compat.pauses()) == 2
    assert compat.successes()
    assert hasattr(compat.base_hook(), "get_connection")
    in_json = compat.written_connection("c", '{"conn_type": "headwater", "host": "/data", "extra": {"project": "p"}}')
    as_uri = compat.written_connection("c", "headwater://%2Fdata/?project=p")
    assert [(c.conn_type, c.host, c.extra_dejson) for c in (in_json, as_uri)] == [
        ("headwater", "/data", {"project": "p"})
    ] * 2
    compat.hide_from_logs("a-very-secret-word")
    assert "a-very-secret-word" not in str(compat.redact({"said": "a-very-secret-word"}))


def test_what_is_not_public_is_where_we_reach_for_it(airflow_here):
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions._internal import contextmanager

    assert compat.current_context() is None
    assert len(contextmanager._CURRENT_CONTEXT) == 0
    hook = lambda context, result=None: None
    assert BaseOperator(task_id="t", post_execute=hook)._post_execute_hook is hook
    compat.allow_in_xcoms("headwater.handle.Nothing")
    serde = compat.first_of("airflow.sdk.serde", "airflow.serialization.serde")
    assert "headwater.handle.Nothing" in serde._extra_allowed
