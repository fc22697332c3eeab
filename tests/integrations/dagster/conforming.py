"""The conformance pipelines as Dagster jobs: an op per task, a `@hw.step` in it, the IO manager between them."""

import base64
import pickle

import dagster as dg
from dagster._core.definitions.dependency import DynamicCollectDependencyDefinition

import headwater as hw
from dagster_headwater import HeadwaterIOManager, HeadwaterResource, headwater_metadata
from headwater.adapter import make_step, read_outputs
from tests.conformance.pipelines import Pipeline, Task
from tests.integrations.dagster.pipelines import PROCESSES

HEADWATER = HeadwaterResource(project="conformance")
RESOURCES = {"io_manager": HeadwaterIOManager(headwater=HEADWATER), "items": dg.FilesystemIOManager()}


def op_of(task: Task, fans: set[str]) -> dg.OpDefinition:
    step = make_step(task.body, read_outputs(task.log))
    given = dict(task.given)

    def compute(_context, inputs):
        mapped = {"item": inputs["item"]} if task.over else {}
        yield_from = step(*(inputs[need] for need in task.inputs), **given, **mapped)
        results = (yield_from,) if len(outs) == 1 else yield_from
        for name, value in zip(outs, results):
            yield dg.Output(value if task.log is not None else None, name)

    outs = {}
    for number, log in enumerate(read_outputs(task.log).logs):
        named = headwater_metadata(artifact=log.name, aliases=list(log.aliases))
        outs[f"result{number}" if number else "result"] = dg.Out(metadata=named)
    outs = outs or {"result": dg.Out(dg.Nothing)}
    ins = {need: dg.In(list[hw.Version] if need in fans else hw.Version) for need in task.inputs}
    ins |= {f"after_{need}": dg.In(dg.Nothing) for need in task.after}
    if task.over:
        ins["item"] = dg.In()
    policy = dg.RetryPolicy(max_retries=task.retries) if task.retries else None
    return dg.OpDefinition(compute_fn=compute, name=task.name, ins=ins, outs=outs, retry_policy=policy)


def items_of(task: Task) -> dg.OpDefinition:
    def compute(_context, _inputs):
        for item in task.over:
            yield dg.DynamicOutput(item, mapping_key=f"i{item}")

    out = {"result": dg.DynamicOut(io_manager_key="items")}
    return dg.OpDefinition(compute_fn=compute, name=f"{task.name}_items", ins={}, outs=out)


def graph_of(pipeline: Pipeline) -> dg.GraphDefinition:
    fans = {task.name for task in pipeline if task.over}
    nodes, dependencies = [], {}
    for task in pipeline:
        nodes.append(op_of(task, fans))
        needs = {}
        for need in task.inputs:
            fan = DynamicCollectDependencyDefinition(need, "result")
            needs[need] = fan if need in fans else dg.DependencyDefinition(need, "result")
        needs |= {f"after_{need}": dg.DependencyDefinition(need, "result") for need in task.after}
        if task.over:
            nodes.append(items_of(task))
            needs["item"] = dg.DependencyDefinition(f"{task.name}_items", "result")
        dependencies[task.name] = needs
    return dg.GraphDefinition(name="conformance", node_defs=nodes, dependencies=dependencies)


def packed(pipeline: Pipeline) -> str:
    return base64.b64encode(pickle.dumps(pipeline)).decode()


def job_of(text: str) -> dg.JobDefinition:
    pipeline = pickle.loads(base64.b64decode(text))
    return graph_of(pipeline).to_job(resource_defs=RESOURCES, executor_def=PROCESSES)


def states_of(result, pipeline: Pipeline) -> dict[str, str]:
    ended = {}
    for event in result.all_events:
        name = str(event.node_handle) if event.node_handle else ""
        if event.is_step_success:
            ended[name] = "finished"
        elif event.is_step_failure:
            ended[name] = "failed"
    return {task.name: ended.get(task.name, "skipped") for task in pipeline}


class InProcess:
    """Runs a pipeline in this process; a launch is a Dagster run, whose id is the group."""

    def __init__(self) -> None:
        self.groups: dict[str, str] = {}

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        with dg.DagsterInstance.ephemeral() as instance:
            job = graph_of(pipeline).to_job(resource_defs=RESOURCES)
            result = job.execute_in_process(instance=instance, raise_on_error=False)
        self.groups[group] = result.run_id
        return states_of(result, pipeline)


class InProcesses(InProcess):
    """Each op in a process of its own."""

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        job = dg.build_reconstructable_job(
            "tests.integrations.dagster.conforming", "job_of", reconstructable_args=(packed(pipeline),)
        )
        with (
            dg.instance_for_test() as instance,
            dg.execute_job(job, instance, raise_on_error=False) as result,
        ):
            self.groups[group] = result.run_id
            return states_of(result, pipeline)


class Launched(hw.Repository):
    """The repository, asked by the names of launches instead of Dagster's run ids."""

    groups: dict[str, str] = {}

    def runs(self, *, group=None, **options):
        return super().runs(group=self.groups.get(group, group), **options)
