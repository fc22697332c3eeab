"""Everything of Dagster that is not public and that we need, in one place, each with what happens without it.

Checked by tests/integrations/dagster/test_seams.py on the Dagster that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import dagster as dg

from dagster_headwater.naming import asset_artifact
from headwater.adapter import RunState

LOOKING = "dummy_input_name"
"""The input's name when somebody looks at a finished run's outputs: nothing runs, nothing is recorded."""
NO_RUN = "__EPHEMERAL_RUN_ID"
"""The producing run of an input whose asset is not made in this run."""
_CRASHES = ("ChildProcessCrashException",)
_INTERRUPTS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
_ENDS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_UP_FOR_RETRY}
_MAX_ERROR = 2_000
MAX_EVENTS = 100
"""Most materializations looked at for the one that made what is read."""


def current_step() -> Any | None:
    """The step whose body the caller is in, or None."""
    try:
        return attempted(dg.OpExecutionContext.get().get_step_execution_context())
    except Exception:  # noqa: BLE001  # Dagster has no question that does not raise
        return None


def step_of(context: Any) -> Any | None:
    """The step that a load, a store or a body belongs to; None outside a run, and while results are looked at."""
    if getattr(context, "_name", None) == LOOKING:
        return None
    if hasattr(context, "get_step_execution_context"):
        return attempted(context.get_step_execution_context())
    return attempted(getattr(context, "_step_context", None)) or current_step()


def attempted(step: Any) -> Any | None:
    """The step if it is being executed: one made for looking at results does not know its attempt."""
    try:
        return None if step is None or step.previous_attempt_count < 0 else step
    except Exception:  # noqa: BLE001  # a CheckError, which is private
        return None


def kind_of(step: Any) -> str:
    """What the step makes: `asset`, `asset_check` or `op`."""
    if step.is_asset_check_step:
        return "asset_check"
    return "asset" if step.is_sda_step else "op"


def raw_config(step: Any) -> Any:
    """The op's config as it was written: references to the environment are not replaced by their secrets."""
    found: Any = step.dagster_run.run_config
    for name in step.node_handle.path:
        found = (found or {}).get("ops", {}).get(name) if isinstance(found, Mapping) else None
    return (found or {}).get("config") if isinstance(found, Mapping) else None


def partition_of(step: Any) -> str | None:
    """The partition the Dagster run is for, if it is for one."""
    return str(step.partition_key) if step.has_partition_key else None


def artifact_of(step: Any, key: dg.AssetKey) -> str:
    """The artifact of an asset of the step's job, as its definition names it."""
    layer = step.job_def.asset_layer
    return asset_artifact(key, layer.get(key).metadata if layer.has(key) else None)


def is_fan_in(step: Any | None, input_name: str) -> bool:
    """Whether the input gathers several outputs into a list, so that its type is that of the list."""
    try:
        return step is not None and hasattr(step.step.step_input_named(input_name).source, "sources")
    except Exception:  # noqa: BLE001  # without it the items load as they were written
        return False


def said(context: Any, fact: str, otherwise: Any = None) -> Any:
    """A fact of a load's or store's context; contexts built by hand or by migrations raise for what they lack."""
    try:
        return getattr(context, fact)
    except Exception:  # noqa: BLE001  # DagsterInvariantViolationError and CheckError, depending on the fact
        return otherwise


def correct_provenance(step: Any, key: dg.AssetKey, digest: str) -> None:
    """Let Dagster record that the step reads upstream data of that digest, where it takes the newest for granted.

    Without what this needs, Dagster records what it always does.
    """
    try:
        known = step.maybe_fetch_and_get_input_asset_version_info(key)
        if known is None or known.data_version is None or known.data_version.value == digest:
            return
        found = step.instance.fetch_materializations(key, limit=MAX_EVENTS).records
        read = next((record for record in found if _data_version(record) == digest), None)
        facts = {} if read is None else {"storage_id": read.storage_id, "run_id": read.run_id,
                                         "timestamp": read.timestamp}  # fmt: skip
        step.input_asset_records[key] = replace(known, data_version=dg.DataVersion(digest), **facts)
    except (AttributeError, KeyError, TypeError):
        return


def _data_version(record: Any) -> str | None:
    found: str | None = (record.asset_materialization.tags or {}).get("dagster/data_version")
    return found


# -- how steps ended -------------------------------------------------------------
class End(NamedTuple):
    """How one attempt at a step ended."""

    state: RunState
    error: str | None = None


def ends_of(instance: Any, run_id: str) -> dict[str, list[End]]:
    """Step key → the end of each attempt, in order; from the event log, which every process can read."""
    found: dict[str, list[End]] = {}
    for entry in instance.all_logs(run_id, of_type=_ENDS):
        event = entry.dagster_event
        found.setdefault(event.step_key, []).append(_end(event))
    return found


def _end(event: Any) -> End:
    if event.event_type == dg.DagsterEventType.STEP_SUCCESS:
        return End("finished")
    error = getattr(event.event_specific_data, "error", None)
    chain = list(_causes(error))
    names = [one.cls_name for one in chain]
    state: RunState = "failed"
    if any(name in _CRASHES for name in names):
        state = "lost"
    elif any(name in _INTERRUPTS for name in names):
        state = "cancelled"
    return End(state, chain[-1].message.strip()[:_MAX_ERROR] if chain else None)


def _causes(error: Any) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.cause


# -- assets a step depends on without loading them -------------------------------
class Declared(NamedTuple):
    """One asset that a step depends on and does not load."""

    key: dg.AssetKey
    input_name: str
    metadata: Mapping[str, Any]
    partitions: tuple[str, ...] | None
    """None: it has no partitions."""
    digest: str | None
    """Its data version when the step began; None if this very run makes it, or Dagster knows none."""


def declared_of(step: Any) -> list[Declared]:
    """What `deps=` says of the assets this step makes; empty where this Dagster does not tell."""
    try:
        layer = step.job_def.asset_layer
        parents = {p for key in step.get_output_asset_keys() if layer.has(key) for p in layer.get(key).parent_keys}
        return [found for key in sorted(parents, key=str) if (found := _declared(step, layer, key))]
    except (AttributeError, KeyError):
        return []


def _declared(step: Any, layer: Any, key: dg.AssetKey) -> Declared | None:
    name = layer.get_node_input_name(step.node_handle, key)
    if name is None or not step.op_def.input_def_named(name).dagster_type.is_nothing:
        return None
    partitions = None
    if step.has_asset_partitions_for_input(name):
        subset = step.asset_partitions_subset_for_input(name, require_valid_partitions=False)
        partitions = tuple(str(k) for k in subset.get_partition_keys())
    info = step.maybe_fetch_and_get_input_asset_version_info(key)
    digest = None
    if info is not None and info.data_version is not None and not _made_here(step, layer, key, info.run_id):
        digest = info.data_version.value
    return Declared(key, name, layer.get(key).metadata or {}, partitions, digest)


def _made_here(step: Any, layer: Any, key: dg.AssetKey, last_run: str) -> bool:
    """Whether this run makes the asset: then what it made counts, not what another run made meanwhile."""
    whole = not step.dagster_run.step_keys_to_execute  # a re-execution of some steps takes the others' from its parent
    return last_run == step.run_id or (whole and key in layer.selected_asset_keys)
