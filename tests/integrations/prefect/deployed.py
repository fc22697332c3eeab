"""Flows that a process worker runs, and what serves and deploys them; run as a script by the tests."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from prefect import flow

import headwater as hw
from headwater import Version
from prefect_headwater import EVENT_REF, on_new_version, step, track
from tests.integrations.prefect.shapes import load, part

ROOT = Path(__file__).parents[3]


@step(log="model")
def fit(data: Version[int]) -> int:
    return data.load() * 10


@track
@flow
def train(data: Version[int] = hw.Use("vision/features")) -> str:
    return str(fit(data))


@step(log="never")
def sleeps(marker: str) -> str:
    hw.log("checkpoint", "half")
    hw.log("held-back", "draft", publish=False)
    Path(marker).write_text(str(os.getpid()))
    time.sleep(90)
    return "woke up"


@track
@flow
def sleepy(marker: str) -> None:
    sleeps(marker)


@track
@flow
def sleepy_elsewhere(marker: str) -> None:
    sleeps.submit(marker).result()


@step
def waits(name: str, marker: str, go: str) -> str:
    """Says where it runs, and goes on when it may."""
    hw.log(f"{name}-checkpoint", "half")
    draft = hw.log(f"{name}-held-back", "draft", publish=False)
    Path(marker).write_text(f"{os.getpid()} {draft.id}")
    until = time.monotonic() + 90
    while not Path(go).exists() and time.monotonic() < until:
        time.sleep(0.1)
    return f"{name} whole"


@track
@flow
def patient(name: str, marker: str, go: str) -> None:
    waits.with_options(log=f"{name}-result")(name, marker, go)


@track
@flow
def patient_elsewhere(name: str, marker: str, go: str) -> None:
    waits.with_options(log=f"{name}-result").submit(name, marker, go).result()


def deploy() -> None:
    here = "tests/integrations/prefect/deployed.py"
    trigger = on_new_version("vision/features", parameters={"data": EVENT_REF})
    promoted = on_new_version("vision/features", alias="prod", parameters={"data": EVENT_REF})
    for name, triggers in (("train", [trigger]), ("sleepy", []), ("sleepy_elsewhere", [])):
        found = flow.from_source(source=str(ROOT), entrypoint=f"{here}:{name}")
        found.deploy(name="real", work_pool_name="pool", triggers=triggers, print_next_steps=False)
    for name, pool in (("patient", "pool"), ("patient_elsewhere", "pool"), ("patient", "doomed")):
        found = flow.from_source(source=str(ROOT), entrypoint=f"{here}:{name}")
        found.deploy(name=pool, work_pool_name=pool, print_next_steps=False)
    found = flow.from_source(source=str(ROOT), entrypoint=f"{here}:train")
    found.deploy(name="promoted", work_pool_name="pool", triggers=[promoted], print_next_steps=False)


def serve() -> None:
    from prefect.task_worker import serve as serve_tasks

    serve_tasks(load, part)


def delay() -> None:
    raw = load.delay(1)
    made = part.delay(raw, 2)
    made.wait(timeout=60)
    print(made.result().load())


if __name__ == "__main__":
    {"deploy": deploy, "serve": serve, "delay": delay, "train": lambda: print(train())}[sys.argv[1]]()
