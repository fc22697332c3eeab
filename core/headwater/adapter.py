"""What an orchestrator's adapter stands on; with `import headwater` all that it may import.

An adapter answers three questions, and the rest is here:

1. *Which run am I?* A `RunIdentity` from the framework's own ids; register a callable that
   gives it as entry point `headwater.ambient` (its name is the framework's module).
2. *How does this framework like to be configured?* `prefer(url=…)` per process, which user code
   overrules with `configure`, or `connect(…)` where several repositories meet.
3. *When and how does my run end?* `close_run` and `close_group` work from any process and
   are idempotent.

`make_step` (or `begin` for one call) binds inputs, records uses, runs the function and
logs what it declares; a `Host` says which run that is and who ends it.
"""

from typing import TYPE_CHECKING

from headwater.lazy import lend

if TYPE_CHECKING:
    from headwater.connect import connect, default_repository
    from headwater.model.graph import label
    from headwater.model.naming import check_alias, parse_name, quote_partition
    from headwater.model.records import Event, RunRecord, RunState, VersionRecord
    from headwater.model.values import mask, mask_text, to_plain
    from headwater.run import Run, open_run
    from headwater.runspec import RunSpec, run_id
    from headwater.settings import configure, current, prefer, tracking
    from headwater.steps.ambient import (
        current_identity,
        default_home,
        find_run,
        join,
        run_as,
        spec_of,
        surrounding_run,
    )
    from headwater.steps.binding import Call, Host, Hosted, begin, config_of, plain_of, publish_all, state_after
    from headwater.steps.declared import Log, Outputs, Use, read_outputs
    from headwater.steps.decorator import make_step
    from headwater.steps.identity import RunIdentity, to_environment
    from headwater.steps.inspection import Plan, outside_annotations, outside_signature, read_function
    from headwater.steps.scan import find_handles
    from headwater.steps.unrecorded import Unrecorded, lenient

__all__ = [
    "Call",
    "Event",
    "Host",
    "Hosted",
    "Log",
    "Outputs",
    "Plan",
    "Run",
    "RunIdentity",
    "RunRecord",
    "RunSpec",
    "RunState",
    "Unrecorded",
    "Use",
    "VersionRecord",
    "begin",
    "check_alias",
    "config_of",
    "configure",
    "connect",
    "current",
    "current_identity",
    "default_home",
    "default_repository",
    "find_handles",
    "find_run",
    "join",
    "label",
    "lenient",
    "make_step",
    "mask",
    "mask_text",
    "open_run",
    "outside_annotations",
    "outside_signature",
    "parse_name",
    "plain_of",
    "prefer",
    "publish_all",
    "quote_partition",
    "read_function",
    "read_outputs",
    "run_as",
    "run_id",
    "spec_of",
    "state_after",
    "surrounding_run",
    "to_environment",
    "to_plain",
    "tracking",
]

if not TYPE_CHECKING:
    __getattr__ = lend(__name__, {
        "connect": "connect default_repository",
        "model.graph": "label",
        "model.naming": "check_alias parse_name quote_partition",
        "model.records": "Event RunRecord RunState VersionRecord",
        "model.values": "mask mask_text to_plain",
        "run": "Run open_run",
        "runspec": "RunSpec run_id",
        "settings": "configure current prefer tracking",
        "steps.ambient":
            "current_identity default_home find_run join run_as spec_of surrounding_run",
        "steps.binding": "Call Host Hosted begin config_of plain_of publish_all state_after",
        "steps.declared": "Log Outputs Use read_outputs",
        "steps.decorator": "make_step",
        "steps.identity": "RunIdentity to_environment",
        "steps.inspection": "Plan outside_annotations outside_signature read_function",
        "steps.scan": "find_handles",
        "steps.unrecorded": "Unrecorded lenient",
    })  # fmt: skip
