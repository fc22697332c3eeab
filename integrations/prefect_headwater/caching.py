"""`ARTIFACT_INPUTS`: a cache policy that looks at content. A moved alias runs the task again, an equal one does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import CachePolicy
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
        task = task_ctx.task
        known = {name: stable(value) for name, value in (inputs or {}).items() if name not in self.exclude}
        plan: Plan | None = getattr(task.fn, "__headwater_step__", None)
        named = {} if plan is None else {n: i.use for n, i in plan.injected.items() if n not in known}
        group = str(task_ctx.task_run.flow_run_id) if task_ctx.task_run.flow_run_id else None
        repo = default_repository()
        for name, use in named.items():
            if name not in self.exclude:
                known[name] = stable(repo.version(_full(use.name, plan), group=None if use.fresh else group))
        logs = [] if plan is None else [log.name for log in plan.outputs.logs]
        return hash_objects(task.task_key, logs, sorted(known.items()), raise_on_failure=True)

    def __sub__(self, other: str) -> ArtifactInputs:
        """The policy without a parameter."""
        return replace(self, exclude=[*self.exclude, other])


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


def _full(name: str, plan: Plan | None) -> str:
    return name if plan is None or plan.project is None or "/" in name else f"{plan.project}/{name}"


def _ordered(values: Any) -> Iterable[Any]:
    return sorted(values, key=repr) if isinstance(values, set | frozenset) else values


ARTIFACT_INPUTS = ArtifactInputs()
