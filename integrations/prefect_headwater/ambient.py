"""Entry point `headwater.ambient`: what `hw.use`, `hw.log` and `@hw.step` find around them under Prefect."""

from __future__ import annotations

from dataclasses import replace

from prefect.context import FlowRunContext, TaskRunContext

from headwater import RunIdentity
from headwater.adapter import plain_of
from prefect_headwater import endings, together
from prefect_headwater.identity import of_flow_run, of_task_run, run_context


def current() -> RunIdentity | None:
    """The execution the caller is in, or None outside Prefect's runs.

    It also sees to it that its run ends when Prefect says that the execution has, and that inside a
    transaction what it logs stays drafts.

    Raises:
        StateError: The transaction around it was rolled back.
    """
    context = run_context()
    if isinstance(context, TaskRunContext):
        endings.watch_task(context)
        identity = of_task_run(context.task, context.task_run, plain_of(context.parameters))
    elif isinstance(context, FlowRunContext) and context.flow is not None and context.flow_run is not None:
        endings.watch_flow(context.flow)
        endings.use_parameters(context)
        identity = of_flow_run(context.flow, context.flow_run)
    else:
        return None
    held = together.holding()
    return identity if held is None else replace(identity, drafts=held.drafts)
