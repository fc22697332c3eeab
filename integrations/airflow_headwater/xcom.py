"""An XCom backend, opt-in: what is large or not JSON becomes a version, the rest stays in Airflow.

    AIRFLOW__CORE__XCOM_BACKEND=airflow_headwater.xcom.HeadwaterXComBackend

What it put away it knows by a mark, `{"__headwater_xcom__": 1, "version": {…}}`; a value of
somebody else that looks like it is put away too, so a mark is always ours. Clearing a task purges
XComs, never versions: lineage stays.
"""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk.bases.xcom import BaseXCom

from airflow_headwater import connection
from airflow_headwater.compat import option
from airflow_headwater.runs import context_here, join_task
from headwater import Run, Version, adapter, name

MARK = "__headwater_xcom__"
FORMAT = 1
LINKS = "_link_"
"""How the keys of extra links begin, which Airflow itself reads back as text."""


class HeadwaterXComBackend(BaseXCom):
    """See the module."""

    @staticmethod
    def serialize_value(value: Any, *, key: str | None = None, **ids: Any) -> Any:
        """What Airflow keeps: the value, or the mark of the version it became.

        Raises:
            TypeError: Neither Airflow nor a codec knows the value.
            HeadwaterError: It could not be logged; the task fails.
        """
        plain = _plain(value)
        small = plain is not _NOT_JSON and len(json.dumps(plain)) <= int(option("xcom_threshold", "65536"))
        if (key or "").startswith(LINKS) or adapter.tracking() == "off" or (small and not _is_mark(plain)):
            return BaseXCom.serialize_value(value)
        context = context_here()
        if context is None:  # set from outside a task: nobody to record it for
            return BaseXCom.serialize_value(value)
        if plain is _NOT_JSON and isinstance(value, dict) and all(isinstance(k, str) for k in value):
            inner = {k: HeadwaterXComBackend.serialize_value(v, key=k, **ids) for k, v in value.items()}
            return BaseXCom.serialize_value(inner)
        return _mark(_put_away(context, value, key or "return_value"))

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """The value again; reading one that became a version records its use by the task that reads."""
        return _unmark(result.value, BaseXCom.deserialize_value)

    @classmethod
    def purge(cls, xcom: Any, *args: Any) -> None:
        """The version stays: what was made from it says so for ever."""


_NOT_JSON = object()


def _plain(value: Any) -> Any:
    try:
        return BaseXCom.serialize_value(value)
    except (TypeError, AttributeError, RecursionError):
        return _NOT_JSON


def _put_away(context: dict[str, Any], value: Any, key: str) -> Version[Any]:
    ti = context["ti"]
    run: Run = join_task(context)
    artifact = name(ti.dag_id, ti.task_id, key)
    project = option("xcom_project")
    return run.log_artifact(
        value,
        f"{project}/{artifact}" if project else artifact,
        type="xcom",
        role=key,
        partition=str(ti.map_index) if ti.map_index is not None and ti.map_index >= 0 else None,
        allow_pickle=option("xcom_allow_pickle", "False").lower() == "true",
    )


def _mark(version: Version[Any]) -> dict[str, Any]:
    return {MARK: FORMAT, "version": version.to_json()}


def _is_mark(value: Any) -> bool:
    return isinstance(value, dict) and MARK in value


def _unmark(stored: Any, read: Any) -> Any:
    if _is_mark(stored):
        return _bring_back(stored)
    if isinstance(stored, dict) and any(_is_mark(inner) for inner in stored.values()):
        return {k: _unmark(inner, read) for k, inner in stored.items()}
    return read(_Stored(stored))


def _bring_back(mark: dict[str, Any]) -> Any:
    connection.apply()
    version: Version[Any] = Version.from_json(mark["version"])
    context = context_here()
    if context is not None and adapter.tracking() != "off":
        version = join_task(context).use_artifact(version)
    else:
        version = adapter.default_repository().version_by_id(version.id)
    return version.load(allow_pickle=option("xcom_allow_pickle", "False").lower() == "true")


class _Stored:
    """As Airflow hands a stored value to a backend."""

    def __init__(self, value: Any) -> None:
        self.value = value
