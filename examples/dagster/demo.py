"""Starts a real `dagster dev` with its daemon, and drives the pipeline of definitions.py over GraphQL.

python examples/dagster/demo.py [--screenshot FILE.png]      (or `make demo-dagster`; about a minute)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

import headwater as hw

HERE = Path(__file__).parent
HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUNS = "query { runsOrError(limit: 50) { ... on Runs { results { runId status jobName tags { key value } } } } }"
PLACE = "query { repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"


class Dagster:
    """A running Dagster, asked over GraphQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of one answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def place(self) -> dict[str, str]:
        """Where the definitions are."""
        node = self.ask(PLACE)["repositoriesOrError"]["nodes"][0]
        return {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}

    def launch(self, *assets: str, partition: str | None = None) -> str:
        """Launch assets; the run's id."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        chosen = [{"path": name.split("/")} for name in assets]
        params = {"selector": {**self.place(), "jobName": "__ASSET_JOB", "assetSelection": chosen,
                               "assetCheckSelection": []},
                  "executionMetadata": {"tags": tags}, "runConfigData": {}, "mode": "default"}  # fmt: skip
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        if "run" not in answer:
            raise RuntimeError(f"not launched: {answer}")
        return answer["run"]["runId"]

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return self.ask(RUNS)["runsOrError"]["results"]

    def wait(self, *runs: str, seconds: float = 300) -> None:
        """Until these runs have succeeded."""
        for run in runs:
            wait_for(lambda run=run: self.status(run) in ("SUCCESS", "FAILURE", "CANCELED"), f"run {run}", seconds)
            if self.status(run) != "SUCCESS":
                raise RuntimeError(f"run {run} ended as {self.status(run)}")

    def status(self, run: str) -> str:
        """How a run stands."""
        return next(found["status"] for found in self.runs() if found["runId"] == run)

    def launched_by(self, sensor: str) -> list[str]:
        """Runs that a sensor asked for."""
        return [run["runId"] for run in self.runs()
                if {"key": "dagster/sensor_name", "value": sensor} in run["tags"]]  # fmt: skip


@contextmanager
def running_dagster(definitions: Path, home: Path, **environment: str) -> Iterator[Dagster]:
    """`dagster dev` on a free port of this machine, ended with the block."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-f", str(definitions), "-h", "127.0.0.1", "-p", str(port)]
    with (home / "dagster.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, cwd=home,
            env={**os.environ, "DAGSTER_HOME": str(home), "NO_PROXY": "*", **environment},
        )  # fmt: skip
        dagster = Dagster(f"http://127.0.0.1:{port}")
        try:
            wait_for(lambda: answers(dagster), "Dagster", 240)
            yield dagster
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def answers(dagster: Dagster) -> bool:
    try:
        return bool(dagster.place())
    except (OSError, KeyError, IndexError):
        return False


def wait_for(what: Any, name: str, seconds: float = 300) -> None:
    """Until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"{name} did not come within {seconds} s")
        time.sleep(0.3)


def screenshot(dagster: Dagster, path: str, file: Path, browser: str | None = None) -> bool:
    """A picture of a page by a headless Chromium; False where there is none."""
    browser = browser or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return False
    dagster.ask("mutation { setNuxSeen }")  # else a welcome covers the page
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1500,1100",
             f"--user-data-dir={profile}", "--virtual-time-budget=15000", f"--screenshot={file}", dagster.url + path],
            check=True, capture_output=True, timeout=90,
        )  # fmt: skip
    return file.exists()


def drive(dagster: Dagster, repo: hw.Repository, say: Any = print) -> None:
    """The story: two months, labels from outside, a sensor, a check that promotes, automation that compares."""
    say("two months of pictures, a partition each; and an exam")
    months = [dagster.launch("pictures", partition=month) for month in ("2026-01", "2026-02")]
    dagster.wait(*months, dagster.launch("exam"))
    say("somebody logs corrected labels, without Dagster; the sensor starts training for exactly that version")
    log_labels(repo, [(0, 0)])
    train(dagster, 1)
    say(f"  trained {repo.version('digits-model')}; the check passed and made it the champion")
    wait_for(lambda: repo.exists("comparison"), "the automated comparison")
    say(f"  compared, because the models moved: {repo.version('comparison').load()}")


def challenge(dagster: Dagster, repo: hw.Repository, say: Any = print) -> None:
    """How it goes on: labels that are worse make a challenger that does not become the champion."""
    say("somebody else mislabels half of the pictures; that version, too, is trained on")
    log_labels(repo, [(number, 3) for number in range(900)])
    train(dagster, 2)
    standing = repo.version("digits-model:champion")
    say(f"  trained {repo.version('digits-model')}; the check failed, {standing} stays the champion")
    wait_for(lambda: repo.exists("comparison:v1"), "the second comparison")
    say(f"  compared: {repo.version('comparison').load()}")


def train(dagster: Dagster, count: int) -> None:
    """Until the sensor has started so many runs, and they have ended."""
    wait_for(lambda: len(dagster.launched_by("headwater_versions")) == count, "the sensor's run")
    dagster.wait(*dagster.launched_by("headwater_versions"))


def log_labels(repo: hw.Repository, rows: list[tuple[int, int]]) -> None:
    with repo.start_run("correct labels") as run:
        run.log_artifact(pd.DataFrame(rows, columns=["id", "label"]), "corrected-labels")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--screenshot", type=Path)
    picture = arguments.parse_args().screenshot
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that Dagster is stopped too
    folder = Path(tempfile.mkdtemp(prefix="headwater-dagster-"))
    url = str(folder / "repository")
    say("starting Dagster and its daemon")
    try:
        with (
            hw.connect(url, project="digits") as repo,
            running_dagster(HERE / "definitions.py", folder / "dagster", HEADWATER_URL=url) as dagster,
        ):
            say(f"its pages are at {dagster.url}")
            tell(dagster, repo, url, picture)
    except BaseException:
        print(f"Dagster's log and the repository are in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def tell(dagster: Dagster, repo: hw.Repository, url: str, picture: Path | None) -> None:
    drive(dagster, repo, say)
    if picture is not None:
        say(f"wrote {picture}" if screenshot(dagster, "/assets/model", picture) else "there is no Chromium here")
    challenge(dagster, repo, say)
    environment = {**os.environ, "HEADWATER_URL": url, "HEADWATER_PROJECT": "digits"}
    for words in ("alias ls digits-model", "lineage digits-model:champion"):
        say(f"\n$ headwater {words}")
        shown = subprocess.run(
            [*HEADWATER, *words.split()], env=environment, capture_output=True, text=True, check=True
        )
        say(shown.stdout.rstrip())
    if sys.stdin.isatty():
        input(f"\nLook at {dagster.url}/assets/model; Enter stops Dagster. ")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
