"""What KubernetesExecutor does, without a cluster: a new interpreter for each task, told of it in JSON alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from airflow.executors.base_executor import BaseExecutor

COMMAND = (sys.executable, "-m", "airflow.sdk.execution_time.execute_workload", "--json-string")
"""What stands in a pod that the KubernetesExecutor makes."""


class PodsExecutor(BaseExecutor):
    """Pods without a cluster: processes."""

    def start(self) -> None:
        self._pods: dict[Any, subprocess.Popen[bytes]] = {}

    def _process_workloads(self, workloads: Sequence[Any]) -> None:
        for workload in workloads:
            key = workload.ti.key
            del self.queued_tasks[key]
            self.running.add(key)
            self._pods[key] = subprocess.Popen([*COMMAND, workload.model_dump_json()])

    def sync(self) -> None:
        for key, pod in list(self._pods.items()):
            if pod.poll() is not None:
                del self._pods[key]
                (self.fail if pod.returncode else self.success)(key)

    def end(self) -> None:
        for pod in self._pods.values():
            pod.wait()

    def terminate(self) -> None:
        for pod in self._pods.values():
            pod.kill()
