"""Caching by content: `ARTIFACT_INPUTS`, and what Prefect's own `INPUTS` cannot see of a step.

A moved alias runs the task again; another name of the same content does not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import CachePolicy, CompoundCachePolicy, Inputs
from prefect.utilities.hashing import hash_objects

from headwater import Version
from headwater.adapter import Plan, default_repository
from prefect_headwater.settings import settings

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

MAX_DEPTH = 4


@dataclass
class ArtifactInputs(CachePolicy):
    """The task, its inputs with every version as its digest, and the content its `hw.Use` names mean now.

    Prefect's `INPUTS` would hash a name, which stays the same when its alias moves, or a handle, which
    differs between equal versions. Combine it with `+ TASK_SOURCE`; leave parameters out with `- "name"`.
    """

    exclude: list[str] = field(default_factory=list)

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002 - Prefect's signature
        **_: Any,
    ) -> str | None:
        """A hash, or an error where an input cannot be hashed: Prefect then logs it and runs the task."""
        settings()
        plan: Plan | None = getattr(task_ctx.task.fn, "__headwater_step__", None)
        known = {name: stable(value) for name, value in (inputs or {}).items() if name not in self.exclude}
        known |= _named(plan, task_ctx, {*known, *self.exclude})
        logs = [] if plan is None else [log.name for log in plan.outputs.logs]
        return hash_objects(task_ctx.task.task_key, logs, sorted(known.items()), raise_on_failure=True)

    def __sub__(self, other: str) -> ArtifactInputs:
        """The policy without a parameter."""
        return replace(self, exclude=[*self.exclude, other])


@dataclass
class NamedInputs(CachePolicy):
    """The content that a step's `hw.Use` names mean now. None, without a question, where no result is kept."""

    exclude: list[str] = field(default_factory=list)

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002 - Prefect's signature
        **_: Any,
    ) -> str | None:
        """A hash, to be combined with that of the other inputs."""
        plan: Plan | None = getattr(task_ctx.task.fn, "__headwater_step__", None)
        if not task_ctx.persist_result:
            return None
        settings()
        named = _named(plan, task_ctx, {*(inputs or {}), *self.exclude})
        return hash_objects(sorted(named.items()), raise_on_failure=True) if named else None


def seeing_names(policy: Any, plan: Plan) -> Any:
    """A policy as given, but where it hashes the inputs of a step, what `hw.Use` brings is among them."""
    parts = policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
    inputs = [part for part in parts if isinstance(part, Inputs)]
    if not plan.injected or not inputs or any(isinstance(part, NamedInputs) for part in parts):
        return policy
    return policy + NamedInputs(exclude=[name for part in inputs for name in part.exclude])


def _named(plan: Plan | None, task_ctx: TaskRunContext, besides: Container[str]) -> dict[str, Any]:
    if plan is None or not plan.injected:
        return {}
    group = str(task_ctx.task_run.flow_run_id) if task_ctx.task_run.flow_run_id else None
    repo = default_repository()
    return {
        name: stable(repo.version(_full(wanted.use.name, plan), group=None if wanted.use.fresh else group))
        for name, wanted in plan.injected.items()
        if name not in besides
    }


def stable(value: Any, depth: int = MAX_DEPTH) -> Any:
    """`value` with its digest in place of every version."""
    if isinstance(value, Version):
        return {"headwater": value.digest}
    if depth == 0 or isinstance(value, str | bytes):
        return value
    if isinstance(value, dict):
        return {key: stable(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [stable(inner, depth - 1) for inner in _ordered(value)]
    return value


def _full(name: str, plan: Plan) -> str:
    return name if plan.project is None or "/" in name else f"{plan.project}/{name}"


def _ordered(values: Any) -> Iterable[Any]:
    return sorted(values, key=repr) if isinstance(values, set | frozenset) else values


ARTIFACT_INPUTS = ArtifactInputs()
