"""Run both DAGs on a real Airflow, on loopback, in a directory that is removed again; then show the lineage.

python examples/airflow/demo.py      (or `make demo-airflow`; about a minute)
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 600  # a busy machine is no failure


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home: Path, port: int) -> dict[str, str]:
    """What makes an Airflow of its own, and where its tasks keep their versions."""
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "HEADWATER"))}
    return {
        **clean,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "HEADWATER_URL": str(home / "repository"),
        "HEADWATER_PROJECT": "digits",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


class Client:
    """As much of Airflow's REST API as a demo needs."""

    def __init__(self, url: str) -> None:
        self.url, self.headers = url, {"Content-Type": "application/json"}

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def healthy(self) -> bool:
        return all(part["status"] == "healthy" for part in self.ask("/api/v2/monitor/health").values())

    def log_in(self) -> bool:
        self.headers["Authorization"] = f"Bearer {self.ask('/auth/token')['access_token']}"
        return True

    def trigger(self, dag_id: str) -> str:
        return self.ask(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]

    def finished(self, dag_id: str, told: set[tuple[str, int]]) -> list[dict[str, Any]]:
        """The runs of a DAG that went well; prints each of its tasks once, when it has ended."""
        for task in self.ask(f"/api/v2/dags/{dag_id}/dagRuns/~/taskInstances?limit=100")["task_instances"]:
            this = (task["task_id"], task["map_index"])
            if task["state"] in ("success", "failed", "upstream_failed") and this not in told:
                told.add(this)
                which = task["rendered_map_index"] or ("" if this[1] < 0 else this[1])
                print(
                    f"  {task['task_id']:<9} {which!s:<7} {task['state']:<8} {max(task['duration'] or 0, 0):5.1f} s",
                    flush=True,
                )
        found = self.ask(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        if any(run["state"] == "failed" for run in found):
            raise SystemExit(f"{dag_id} failed")
        return [run for run in found if run["state"] == "success"]


def wait(what: Any, name: str) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except (OSError, ValueError):  # not up yet
            pass
        time.sleep(0.5)
    raise SystemExit(f"waited {PATIENCE} s for {name} in vain")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that Airflow is stopped too
    home = Path(tempfile.mkdtemp(prefix="headwater-airflow-"))
    found = environment(home, free_port())
    print("Starting Airflow, which takes half a minute …", flush=True)
    with Path(home, "airflow.log").open("wb") as log:
        airflow = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"], env=found, stdout=log, stderr=log, start_new_session=True
        )
    keep = False
    try:
        follow(Client(found["AIRFLOW__API__BASE_URL"]), found)
    except SystemExit:
        keep = True
        print(f"Airflow's logs are in {home}", file=sys.stderr)
        raise
    finally:
        stop(airflow)
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def stop(airflow: subprocess.Popen[bytes]) -> None:
    """End it with all its processes: workers outlive their scheduler."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(airflow.pid, sign)
            airflow.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def follow(client: Client, found: dict[str, str]) -> None:
    wait(client.healthy, "Airflow")
    wait(client.log_in, "a token")
    run = wait(lambda: client.trigger("digits"), "the DAG")
    print(f"{client.url} runs the DAG digits, {run}:", flush=True)
    told: set[tuple[str, int]] = set()
    wait(lambda: client.finished("digits", told), "digits")
    print("The best model has the alias prod now, which starts the DAG deployment:", flush=True)
    wait(lambda: client.finished("deployment", told), "deployment")
    for command in (["artifact", "ls"], ["run", "ls"], ["lineage", "deployed"]):
        print(f"\n$ headwater {' '.join(command)}", flush=True)
        subprocess.run(
            [sys.executable, "-c", "from headwater.cli import main; main()", *command], env=found, check=True
        )


main()
