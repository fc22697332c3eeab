"""Recording without code, where `[headwater] capture` asks for it.

| option         | what is recorded                                                                    |
|----------------|-------------------------------------------------------------------------------------|
| `inlets`       | `headwater://` inlets as uses; other inlets as references, used                    |
| `outlets`      | outlets with another URI as references, logged; `headwater://` ones are logged by the task |
| `hook_lineage` | what hooks and `ObjectStoragePath` report: inputs as references used, outputs logged |

References go into `captured.<uri>` artifacts, pinned where a source can say what is there, else as bare URIs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import headwater as hw
from airflow_headwater.compat import first_of, option
from airflow_headwater.runs import join_task

if TYPE_CHECKING:
    from headwater import Artifact, Run


class Seen(NamedTuple):
    """What hooks had reported when the task began: Airflow never resets the collector of a process."""

    wanted: frozenset[str]
    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()


def before(context: dict[str, Any]) -> Seen:  # noqa: ARG001 - a pair with `after`
    """To be called before `execute`."""
    wanted = frozenset(part.strip() for part in option("capture").split(",") if part.strip())
    return Seen(wanted, *_reported()) if "hook_lineage" in wanted else Seen(wanted)


def after(context: dict[str, Any], seen: Seen) -> None:
    """To be called after a successful `execute`; records what has come up since.

    Raises:
        HeadwaterError: It could not be recorded.
    """
    task, inputs, outputs = context["task"], set(), set()
    if "inlets" in seen.wanted:
        inputs |= _uris(task.inlets)
    if "outlets" in seen.wanted:
        outputs |= {uri for uri in _uris(task.outlets) if not uri.startswith("headwater://")}
    if "hook_lineage" in seen.wanted:
        read, written = _reported()
        inputs |= read - seen.inputs
        outputs |= written - seen.outputs
    if inputs or outputs:
        _record(join_task(context), inputs, outputs)


def _record(run: Run, inputs: set[str], outputs: set[str]) -> None:
    for uri in sorted(inputs):
        run.use_artifact(uri if uri.startswith("headwater://") else _reference(uri))
    for uri in sorted(outputs):
        run.log_artifact(_reference(uri))


def _reference(uri: str) -> Artifact:
    artifact = hw.Artifact(hw.name("captured", uri), "reference", description=uri)
    artifact.add_reference(uri, name="data", on_unavailable="record")
    return artifact


def _uris(declared: Any) -> set[str]:
    found = {getattr(asset, "uri", None) for asset in declared or ()}
    return {uri for uri in found if uri and "://" in uri}


def _reported() -> tuple[frozenset[str], frozenset[str]]:
    collector = first_of(
        "airflow.sdk.lineage:get_hook_lineage_collector", "airflow.lineage.hook:get_hook_lineage_collector"
    )()
    found = collector.collected_assets
    return frozenset(i.asset.uri for i in found.inputs), frozenset(o.asset.uri for o in found.outputs)
