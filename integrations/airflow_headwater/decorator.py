"""`@task.headwater(…)`: a Python task whose inputs and results are versions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

from airflow_headwater.assets import artifact_of
from airflow_headwater.lineage import Facets
from airflow_headwater.links import HeadwaterRunLink
from airflow_headwater.runs import complete_sequences, recording
from airflow_headwater.uses import accent
from headwater import Use as CoreUse
from headwater import adapter

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

    from headwater.adapter import Plan


class HeadwaterDecoratedOperator(Facets, DecoratedOperator, PythonOperator):
    """Runs a function as a step of the task's run.

    Args:
        python_callable: The function; parameters with `Use(name)` may be left out by its caller.
        op_args: Positional arguments; handles and `Use` in them are recorded.
        op_kwargs: Keyword arguments, likewise.
        logs: What the results become: a name, a `Log`, a tuple or a dict of them; texts may be templates.
        project: Where the run and names without a project live; may be a template.
        headwater_conn_id: The connection of the repository.
        **kwargs: As for every operator.
    """

    custom_operator_name = "@task.headwater"
    template_fields = ("project", "logs", *PythonOperator.template_fields)
    template_fields_renderers = {**PythonOperator.template_fields_renderers, "logs": "json"}
    operator_extra_links = (HeadwaterRunLink(),)
    ui_color = "#d7ecf5"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        logs: Any = None,
        project: str | None = None,
        headwater_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.logs = logs
        self.project = project
        self.headwater_conn_id = headwater_conn_id
        if not kwargs.get("_airflow_mapped_validation_only"):
            op_args, op_kwargs = _with_uses(adapter.read_function(python_callable), op_args or (), op_kwargs or {})
        upstream: dict[str, Any] = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        super().__init__(**upstream, kwargs_to_upstream=upstream, **kwargs)

    def execute(self, context: Context) -> Any:
        """Run the function, publish what it declares, end the run; all before Airflow hears of success."""
        function = self.python_callable
        plan_of = adapter.read_outputs(_plain_names(self.logs))
        with recording(context, self.project, self.headwater_conn_id) as here:  # type: ignore[arg-type]  # it is a dict
            complete_sequences(self)
            step = adapter.make_step(function, plan_of, self.project, here.host)
            step.__signature__ = inspect.signature(function)  # also what is injected: the templater resolved it
            self.python_callable = step
            try:
                return super().execute(context)
            finally:
                self.python_callable = function


def _with_uses(plan: Plan, args: Collection[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments, with the uses that the function's parameters declare, for the templater to resolve.

    A use without a role has its parameter's name, as a handle there would.
    """
    given = plan.signature.bind_partial(*args, **kwargs).arguments
    declared = {name: injected.use for name, injected in plan.injected.items() if name not in given}
    named = [_named(value, name) for value, name in zip(args, plan.signature.parameters)]
    every = {**declared, **kwargs}
    return [*named, *list(args)[len(named) :]], {name: _named(value, name) for name, value in every.items()}


def _named(value: Any, parameter: str) -> Any:
    return accent(value, parameter) if isinstance(value, CoreUse) else value


def _plain_names(logs: Any) -> Any:
    """Assets among the declared results are the artifacts they stand for."""
    if isinstance(logs, Mapping):
        return {key: _plain_names(value) for key, value in logs.items()}
    if isinstance(logs, list | tuple):
        return tuple(_plain_names(value) for value in logs)
    return artifact_of(logs) or logs


def _outlets(logs: Any) -> list[Any]:
    many = logs.values() if isinstance(logs, Mapping) else logs if isinstance(logs, list | tuple) else [logs]
    return [out for out in many if artifact_of(out)]


def headwater_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,  # noqa: FBT001 - Airflow passes it so
    *,
    log: Any = None,
    project: str | None = None,
    conn_id: str | None = None,
    **kwargs: Any,
) -> TaskDecorator:
    """`@task.headwater`: as `@task`, and what goes in and comes out is recorded.

    Inputs are handles in the arguments, and parameters with `Use(name)` as default or in their annotation;
    they arrive as their annotations say. With `log=` results become versions and the XCom carries their handles.
    A `hw.step` is taken as it is.

    Args:
        python_callable: The function, for the bare form.
        multiple_outputs: As for `@task`; a dict of results is one by default.
        log: What the results become, as for `hw.step`; texts may be templates, and assets of artifacts
            are outlets of the task as well.
        project: Where the run and names without a project live.
        conn_id: The connection of the repository; `headwater_default` if left out.
        **kwargs: As for `@task`.
    """
    plan = getattr(python_callable, "__headwater_step__", None)
    if plan is None and python_callable is None:
        return _later(multiple_outputs=multiple_outputs, log=log, project=project, conn_id=conn_id, **kwargs)  # type: ignore[return-value]
    if plan is not None:
        python_callable, project = plan.fn, project or plan.project
        log = _declared(plan) if log is None else log
    if found := _outlets(log):
        kwargs["outlets"] = [*(kwargs.get("outlets") or ()), *found]
    own = {"logs": log, "project": project, "headwater_conn_id": conn_id}
    if multiple_outputs is None and isinstance(log, Mapping):
        multiple_outputs = True
    elif multiple_outputs is None and log is not None:
        multiple_outputs = False  # the annotation says what the function returns, the XCom holds handles
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=HeadwaterDecoratedOperator,
        **{name: value for name, value in own.items() if value is not None},
        **kwargs,
    )


def _later(**options: Any) -> Callable[[Callable[..., Any]], TaskDecorator]:
    def decorate(function: Callable[..., Any]) -> TaskDecorator:
        return headwater_task(function, **options)

    return decorate


def _declared(plan: Plan) -> Any:
    outputs = plan.outputs
    if outputs.shape == "nothing":
        return None
    if outputs.shape == "one":
        return outputs.logs[0]
    return outputs.logs if outputs.shape == "tuple" else dict(zip(outputs.keys, outputs.logs))
