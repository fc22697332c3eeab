"""A Prefect server, a worker and a deployment that a new dataset version starts: `make demo-prefect` runs it."""

from __future__ import annotations

import os
import shutil
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that Prefect is stopped too
    folder = Path(tempfile.mkdtemp(prefix="headwater-prefect-"))
    pages = f"http://127.0.0.1:{free_port()}"
    os.environ |= {
        "HEADWATER_URL": str(folder / "repository"),
        "HEADWATER_PROJECT": "vision",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{pages}/api",
        "PREFECT_UI_API_URL": f"{pages}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    running: list[subprocess.Popen[bytes]] = []

    def start(what: str, *command: str) -> None:
        print(f"starting {what}", flush=True)
        log = (folder / f"{what.replace(' ', '-')}.log").open("wb")
        running.append(subprocess.Popen(command, stdout=log, stderr=log))

    try:
        start("the server", *PREFECT, "server", "start", "--host", "127.0.0.1", "--port", pages.rpartition(":")[2])
        wait_for(lambda: urllib.request.urlopen(f"{pages}/api/health", timeout=2).status == 200, "Prefect's server")
        print(f"Prefect's pages are at {pages}")
        quietly(*PREFECT, "work-pool", "create", "local", "--type", "process")
        start("a worker", *PREFECT, "worker", "start", "--pool", "local")
        start("the forwarder", *HEADWATER, "forward", "prefect")
        print("deploying the flow, to run on every new version of vision/digits", flush=True)
        quietly(sys.executable, "-c", DEPLOY.replace("SOURCE", repr(str(HERE))))
        publish(folder)
        if sys.stdin.isatty():
            input("\nEnter stops Prefect. ")
    except BaseException:
        print(f"the logs are in {folder}", file=sys.stderr)
        raise
    finally:
        stop(running)
    shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path) -> None:
    import headwater as hw
    from headwater.demo.pictures import write_digits

    write_digits(folder / "scans")
    repo = hw.connect()
    with hw.start_run("scanner"):
        print(f"publishing {hw.log('digits', folder / 'scans')}; nobody starts the flow by hand", flush=True)

    def flow_run() -> hw.Run | None:
        return next((run for run in repo.runs() if run.name == "digits-pipeline"), None)

    def ended() -> bool:
        found = flow_run()
        return found is not None and found.state != "running"

    wait_for(lambda: flow_run() is not None, "the flow run")
    print(f"it started by itself: {flow_run().record.links['prefect']}", flush=True)
    wait_for(ended, "the end of the flow run")
    if flow_run().state != "finished":
        raise RuntimeError(f"the flow run {flow_run().state}: {flow_run().record.error}")
    print("\nhow good each of the models is about pictures it has not seen:")
    for run in repo.runs(where=["summary.accuracy>0"], order="-summary.accuracy"):
        model = next(edge.version for edge in run.uses() if edge.role == "model")
        print(f"  {hw.Version(model, repo.home)}  {run.summary['accuracy']:.3f}")
    print(f"\n{repo.version('best-classifier:prod')} is in production. What it was made from:\n")
    shown = [*HEADWATER, "lineage", "best-classifier:prod"]
    print(subprocess.run(shown, check=False, capture_output=True, text=True).stdout)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: Callable[[], object], name: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{name} did not come within {seconds:.0f} s")
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
