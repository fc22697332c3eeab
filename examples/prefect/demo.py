"""A Prefect server, a worker and a deployment that a new dataset version starts: `make demo-prefect` runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
PREFECT = [sys.executable, "-m", "prefect"]
HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]
DEPLOY = """
from prefect import flow
from prefect_headwater import EVENT_REF, on_new_version

trigger = on_new_version("digits", parameters={"digits": EVENT_REF})
found = flow.from_source(source=SOURCE, entrypoint="pipeline.py:digits_pipeline")
found.deploy(name="on-new-digits", work_pool_name="local", triggers=[trigger], print_next_steps=False)
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="headwater-prefect-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "HEADWATER_URL": str(folder / "repository"),
        "HEADWATER_PROJECT": "vision",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    running: list[subprocess.Popen[bytes]] = []

    def start(what: str, *command: str) -> None:
        print(f"starting {what}")
        log = (folder / f"{what.replace(' ', '-')}.log").open("wb")
        running.append(subprocess.Popen(command, stdout=log, stderr=log))

    try:
        start("the server", *PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port))
        wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2).status == 200)
        quietly(*PREFECT, "work-pool", "create", "local", "--type", "process")
        start("a worker", *PREFECT, "worker", "start", "--pool", "local")
        start("the forwarder", *HEADWATER, "forward", "prefect")
        print("deploying the flow, to run on every new version of vision/digits")
        quietly(sys.executable, "-c", DEPLOY.replace("SOURCE", repr(str(HERE))))
        publish(folder)
    except BaseException:
        print(f"the logs are in {folder}", file=sys.stderr)
        raise
    finally:
        stop(running)


def publish(folder: Path) -> None:
    import headwater as hw
    from headwater.demo.pictures import write_digits

    write_digits(folder / "scans")
    repo = hw.connect()
    with hw.start_run("scanner"):
        print(f"publishing {hw.log('digits', folder / 'scans')}; nobody starts the flow by hand")
    wait_for(lambda: repo.exists("best-classifier:prod"))
    wait_for(lambda: all(run.state != "running" for run in repo.runs()))
    best = repo.version("best-classifier:prod")
    print(f"\n{best} is in production. What it was made from:\n")
    print(
        subprocess.run(
            [*HEADWATER, "lineage", "best-classifier:prod"], check=False, capture_output=True, text=True
        ).stdout
    )
    for run in reversed(repo.runs(where=["summary.accuracy>0"])):
        print(f"{run.name}: accuracy {run.summary['accuracy']:.3f}, Prefect's page {run.record.links.get('prefect')}")


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.5)


def quietly(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def stop(running: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(running):
        process.send_signal(signal.SIGINT)
    for process in reversed(running):
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
