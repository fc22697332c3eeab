"""Jobs that other processes import by name; the repository comes from the environment."""

import os
import signal
from pathlib import Path

import dagster as dg

import headwater as hw
from dagster_headwater import HeadwaterIOManager, HeadwaterResource

HEADWATER = HeadwaterResource(project="lake")
RESOURCES = {"headwater": HEADWATER, "io_manager": HeadwaterIOManager(headwater=HEADWATER)}
PROCESSES = dg.multiprocess_executor.configured(
    {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": ["dagster_headwater"]}}}
)


def first_time(name: str) -> bool:
    """Whether nobody has asked for `name` before, in any process."""
    try:
        Path(os.environ["MARKERS"], name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dg.op
def load() -> int:
    number = 1
    while not first_time(f"load{number}"):
        number += 1
    return number


@dg.op(out=dg.DynamicOut())
def split(raw: int):
    for item in (1, 2):
        yield dg.DynamicOutput(raw * item, mapping_key=f"k{item}")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def scale(context: dg.OpExecutionContext, part: int) -> int:
    if context.get_mapping_key() == "k1" and first_time("scale"):
        raise ValueError("the first attempt fails")
    return part * 10


@dg.op
def merge(parts: list[int]) -> int:
    return sum(parts)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def deadly(total: int) -> int:
    hw.log("checkpoint", total)
    if os.environ.get("DEADLY") and first_time("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return total


@dg.op
def fragile(total: int) -> int:
    if os.environ.get("FRAGILE"):
        raise ValueError("this fails until somebody mends it")
    return total


@dg.graph
def everything():
    fragile(deadly(merge(split(load()).map(scale).collect())))


def job(executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    return everything.to_job(name="everything", resource_defs=RESOURCES, executor_def=executor)


def in_process() -> dg.JobDefinition:
    return job(dg.in_process_executor)


def multiprocess() -> dg.JobDefinition:
    return job(PROCESSES)
