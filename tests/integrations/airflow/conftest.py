"""Airflow in a home of its own, which must be named before Airflow is first imported; `dag.test()` made quick."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_headwater.compat import first_of

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
HOME = Path(tempfile.mkdtemp(prefix="headwater-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
PATHS = os.pathsep.join(str(path) for path in (ROOT, ROOT / "core", ROOT / "integrations"))
SETTINGS = {
    "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:1/execution/",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "no_proxy": "*",
    "NO_PROXY": "*",
}
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
os.environ.update({"AIRFLOW_HOME": str(HOME), **SETTINGS})


def migrate(home: Path) -> None:
    """Make Airflow's database, 3 to 8 s."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={**os.environ, "AIRFLOW_HOME": str(home), "PYTHONPATH": PATHS}, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def database() -> Path:
    """Airflow's migrated database, as it is without DAGs; this process works on a copy."""
    migrate(HOME)
    return Path(shutil.copy(HOME / "airflow.db", HOME / "pristine.db"))


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The repository that tasks find by themselves."""
    monkeypatch.setenv("HEADWATER_URL", str(tmp_path / "repository"))
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    return str(tmp_path / "repository")


@pytest.fixture
def repo(url: str) -> Iterator[Any]:
    import headwater as hw

    with hw.connect(url, project="vision") as repository:
        yield repository


Execute = Callable[..., Any]


@pytest.fixture(scope="session")
def airflow_here(database: Path) -> None:
    """Airflow in this process: its execution API is built once, not for each task (a fourth of the time)."""
    from airflow.sdk.execution_time import supervisor

    supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


@pytest.fixture
def execute(airflow_here: None, url: str) -> Execute:
    """`execute(dag, **conf)`: run it to its end in this process; gives the DAG run."""

    def run(dag: Any, **conf: Any) -> Any:
        from airflow.models.dag_version import DagVersion

        write(dag)
        assert DagVersion.get_version(dag.dag_id)
        return dag.test(run_conf=conf)

    return run


def write(dag: Any) -> None:
    """Let Airflow know a DAG that stands in no file."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    places = ("airflow.serialization.definitions.dag", "airflow.serialization.serialized_objects")
    kind = first_of(*(f"{place}:SerializedDAG" for place in places))
    if hasattr(LazyDeserializedDAG, "from_dag"):
        known = written = LazyDeserializedDAG.from_dag(dag)
    else:  # 3.0
        known, written = kind.from_dict(kind.to_dict(dag)), dag
    with create_session() as session:
        session.merge(DagBundleModel(name="testing"))
        session.commit()
        kind.bulk_write_to_db("testing", None, [known], session=session)
        SerializedDagModel.write_dag(written, bundle_name="testing", session=session)
        session.commit()


def states(dag_run: Any) -> dict[str, str]:
    """Task → how it ended; of a mapped task the last."""
    return {ti.task_id: str(getattr(ti.state, "value", ti.state)) for ti in dag_run.get_task_instances()}


@pytest.fixture(scope="session")
def airflow_repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("airflow") / "repository")


@pytest.fixture(scope="session")
def airflow(database: Path, airflow_repository: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Airflow, one for all tests; its connection to the repository stands in its database."""
    from tests.integrations.airflow.real import Airflow

    made = Airflow(
        database,
        HERE / "dags",
        ROOT / "examples" / "airflow" / "dags",
        HOME=str(tmp_path_factory.mktemp("home")),
        AIRFLOW__HEADWATER__URL=airflow_repository,
        AIRFLOW__HEADWATER__UI_URL="http://127.0.0.1:9/headwater",
    )
    try:
        made.start()
        connection = {"connection_id": "headwater_default", "conn_type": "headwater", "host": airflow_repository,
                      "extra": '{"project": "vision"}', "password": "hidden-word"}  # fmt: skip
        made.post("connections", connection)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def opted(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Airflow with everything switched on that is off by default, and each task in a pod of its own.

    `.repository` and `.lineage` are its files.
    """
    from tests.integrations.airflow.real import Airflow

    folder = tmp_path_factory.mktemp("opted")
    transport = {"type": "file", "log_file_path": str(folder / "lineage"), "append": True}
    made = Airflow(
        database,
        HERE / "dags_opted",
        HOME=str(folder),
        AIRFLOW__CORE__EXECUTOR="tests.integrations.airflow.pods.PodsExecutor",
        AIRFLOW__CORE__XCOM_BACKEND="airflow_headwater.xcom.HeadwaterXComBackend",
        AIRFLOW__HEADWATER__URL=str(folder / "repository"),
        AIRFLOW__HEADWATER__PROJECT="vision",
        AIRFLOW__HEADWATER__CAPTURE="inlets,outlets,hook_lineage",
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
    )
    made.repository, made.lineage = str(folder / "repository"), folder / "lineage"
    try:
        made.start()
        yield made
    finally:
        made.stop()
