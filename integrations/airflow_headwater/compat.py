"""Where Airflow 3.0 to 3.3 keep what this provider needs: names moved, nothing else is different."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def first_of(*places: str) -> Any:
    """The first of these `module:name`, or modules, that exists.

    Raises:
        ImportError: None does.
    """
    for place in places:
        module, _, name = place.partition(":")
        try:
            found = importlib.import_module(module)
            return getattr(found, name) if name else found
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this Airflow has none of {', '.join(places)}")


def option(name: str, default: str = "", *, section: str = "headwater") -> str:
    """An option of Airflow's configuration, `[headwater]` unless said otherwise; empty texts are the default."""
    conf = first_of("airflow.sdk.configuration:conf", "airflow.configuration:conf")
    return str(conf.get(section, name, fallback=default) or default)


def base_hook() -> Any:
    """The class that hooks have in common, and that finds connections."""
    return first_of("airflow.sdk:BaseHook", "airflow.sdk.bases.hook:BaseHook", "airflow.hooks.base:BaseHook")


def written_connection(name: str, text: str) -> Any:
    """A connection as `AIRFLOW_CONN_…` has it, in JSON or as a URI; asks nobody."""
    kind = first_of("airflow.sdk:Connection")
    if hasattr(kind, "from_uri"):
        return (kind.from_json if text.startswith("{") else kind.from_uri)(text, conn_id=name)
    kind = first_of("airflow.models.connection:Connection")  # 3.0: the row's class reads them
    return kind.from_json(text, conn_id=name) if text.startswith("{") else kind(uri=text, conn_id=name)


def skips() -> type[Exception]:
    """What a task raises to be skipped."""
    found: type[Exception] = first_of(
        "airflow.sdk.exceptions:AirflowSkipException", "airflow.exceptions:AirflowSkipException"
    )
    return found


def pauses() -> tuple[type[BaseException], ...]:
    """What a task raises to go on later, as the same attempt."""
    places = ("airflow.sdk.exceptions:{0}", "airflow.exceptions:{0}")
    names = ("TaskDeferred", "AirflowRescheduleException")
    return tuple(first_of(*(place.format(name) for place in places)) for name in names)


def successes() -> tuple[type[BaseException], ...]:
    """What a task raises although it succeeded."""
    found = []
    for name in ("DownstreamTasksSkipped", "DagRunTriggerException"):
        try:
            found.append(first_of(f"airflow.sdk.exceptions:{name}", f"airflow.exceptions:{name}"))
        except ImportError:  # not in this Airflow
            continue
    return tuple(found)


def current_context() -> dict[str, Any] | None:
    """The context of the task this process is in; None outside. Loads nothing that is not loaded."""
    module = sys.modules.get("airflow.sdk.definitions._internal.contextmanager")
    contexts = getattr(module, "_CURRENT_CONTEXT", None)
    return contexts[-1] if contexts else None


def task_of(context: Mapping[str, Any]) -> Any:
    """The task that is rendered and run; the context of 3.0 holds the one it was copied from."""
    return getattr(context["ti"], "task", None) or context["task"]


def redact(value: Any) -> Any:
    """`value` without what Airflow knows to be secret."""
    hide = first_of(
        "airflow.sdk._shared.secrets_masker:redact",
        "airflow._shared.secrets_masker:redact",
        "airflow.sdk.execution_time.secrets_masker:redact",
    )
    return hide(value)


def hide_from_logs(secret: str) -> None:
    """Have Airflow print `***` for this text from now on."""
    first_of("airflow.sdk.log:mask_secret", "airflow.sdk.execution_time.secrets_masker:mask_secret")(secret)


def allow_in_xcoms(*classes: str) -> None:
    """Let Airflow read these classes from XComs, given as dotted names; idempotent."""
    serde: Any = first_of("airflow.sdk.serde", "airflow.serialization.serde")
    serde._extra_allowed.update(classes)  # noqa: SLF001 - `allow_class` of 3.3 imports the class, which costs a parse
