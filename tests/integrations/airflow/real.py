"""A real Airflow on loopback: API server, scheduler, DAG processor, triggerer, LocalExecutor, SQLite."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.integrations.airflow.conftest import PATHS, SETTINGS
from tests.servers.processes import Server, free_ports

PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PATIENCE = 110


class Airflow:
    """Four processes and a client; `stop` ends them all."""

    def __init__(self, database: Path, *dags: Path, **environment: str) -> None:
        self.port, workers, triggers = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.servers = [Server(f"airflow-{part}") for part in PARTS]
        home = self.servers[0].folder
        shutil.copy(database, home / "airflow.db")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "HEADWATER"))},
            **SETTINGS,
            "AIRFLOW_HOME": str(home),
            "PYTHONPATH": PATHS,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([_bundle(path) for path in dags]),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(workers),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggers),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            **environment,
        }
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def start(self) -> None:
        """Start all, and return when all say that they are healthy."""
        for part, server in zip(PARTS, self.servers):
            server.start([sys.executable, "-m", "airflow", part], lambda: True, env=self.environment)
        wait_for(self._healthy, "a healthy Airflow")
        token = self.client.get("/auth/token").json()["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def _healthy(self) -> bool:
        try:
            said = self.client.get("/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        return all(part.get("status") == "healthy" for part in said.values())

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        self.client.close()

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *words], env=self.environment, capture_output=True, text=True, timeout=110
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    # -- what its users do -------------------------------------------------------
    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """The answer; asked again after a 500: Airflow's own parts lock each other out of its SQLite for moments."""
        until = time.monotonic() + 60
        while (answer := self.client.request(method, f"/api/v2/{path}", **more)).status_code >= 500:
            assert time.monotonic() < until, f"{answer.text}\n{self.logs()[-5000:]}"
            time.sleep(1)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def begin(self, dag_id: str, run_id: str | None = None, **conf: Any) -> str:
        """Trigger a DAG as soon as Airflow knows it; gives the run's id."""
        wait_for(lambda: self.client.get(f"/api/v2/dags/{dag_id}").status_code == 200, f"DAG {dag_id}", self._errors)
        named = {} if run_id is None else {"dag_run_id": run_id}
        made = self.post(f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf, **named})
        return str(made["dag_run_id"])

    def _errors(self) -> Any:
        return self.client.get("/api/v2/importErrors").text

    def ended(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a DAG run; gives its state."""
        wait_for(lambda: self.state(dag_id, run_id) in ("success", "failed"), f"the end of {dag_id} {run_id}")
        return self.state(dag_id, run_id)

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.get(f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def run(self, dag_id: str, run_id: str | None = None, **conf: Any) -> tuple[str, str]:
        made = self.begin(dag_id, run_id, **conf)
        return made, self.ended(dag_id, made)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, Any]:
        found = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def xcom(self, dag_id: str, run_id: str, task: str) -> Any:
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
        return self.get(f"{path}?deserialize=true")["value"]

    def clear(self, dag_id: str, run_id: str, **which: Any) -> None:
        body = {"dry_run": False, "dag_run_id": run_id, "reset_dag_runs": True, "only_failed": False, **which}
        self.post(f"dags/{dag_id}/clearTaskInstances", body)

    def runs_of(self, dag_id: str) -> list[dict[str, Any]]:
        answer = self.client.get(f"/api/v2/dags/{dag_id}/dagRuns")
        return answer.json()["dag_runs"] if answer.status_code == 200 else []

    def backfills(self, dag_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"backfills?dag_id={dag_id}")["backfills"]
        return found

    def logs(self) -> str:
        return "\n".join(server.folder.joinpath("server.log").read_text(errors="replace") for server in self.servers)


def _bundle(folder: Path) -> dict[str, Any]:
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {"name": "-".join(folder.parts[-3:]), "classpath": local, "kwargs": {"path": str(folder)}}


def wait_for(what: Callable[[], Any], name: str, more: Callable[[], Any] = str, patience: float = PATIENCE) -> Any:
    end = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < end, f"waited in vain for {name}: {more()}"
        time.sleep(0.3)
    return found
