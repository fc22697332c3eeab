"""Which repository tasks use: Airflow's connection, else its configuration, else Headwater's environment.

| field      | means                                                                            |
|------------|----------------------------------------------------------------------------------|
| host       | the repository: `https://…`, `postgresql://host/database`, or a folder          |
| login      | user of the database                                                             |
| password   | its password, or the token of a server                                           |
| port       | where `host` says none                                                           |
| schema     | name of the database, where `host` says none                                     |
| extra      | `project`, `tracking`, or `url` in the place of all above                        |

As text: `headwater://https://:TOKEN@headwater.example.org/?project=vision`.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from airflow_headwater.compat import base_hook, current_context, first_of, hide_from_logs, option, written_connection
from headwater import InvalidInputError
from headwater.adapter import current, prefer

DEFAULT = "headwater_default"
TOKEN = "HEADWATER_TOKEN"  # noqa: S105 - the variable's name


class Settings(NamedTuple):
    """What a connection says; empty is unsaid."""

    url: str = ""
    project: str = ""
    tracking: str = ""
    token: str = ""


def read(connection: Any) -> Settings:
    """What an Airflow connection says; its secrets are hidden from Airflow's logs.

    Raises:
        InvalidInputError: It names no repository.
    """
    given = connection.extra  # a mapping where it came from the environment as JSON, outside of a task
    extra = given if isinstance(given, dict) else connection.extra_dejson
    if connection.password:
        hide_from_logs(connection.password)
    url, token = str(extra.get("url") or ""), ""
    if not url:
        url, token = _url_of(connection)
    return Settings(url, str(extra.get("project") or ""), str(extra.get("tracking") or ""), token)


def _url_of(connection: Any) -> tuple[str, str]:
    host = (connection.host or "").strip()
    if not host:
        raise InvalidInputError(
            what=f"connection {connection.conn_id!r} names no repository", fix="put its URL or folder into the host"
        )
    parts = urlsplit(host)
    if parts.scheme in ("", "file") or not parts.netloc:
        return (f"{host}/{connection.schema}" if connection.schema else host), ""
    port = f":{connection.port}" if connection.port and parts.port is None else ""
    path = f"/{connection.schema}" if connection.schema and parts.path in ("", "/") else parts.path
    if parts.scheme in ("http", "https"):
        return urlunsplit(parts._replace(netloc=parts.netloc + port, path=path)), connection.password or ""
    user = quote(connection.login or "", safe="")
    secret = f":{quote(connection.password, safe='')}" if connection.password else ""
    who = f"{user}{secret}@" if user and "@" not in parts.netloc else ""
    return urlunsplit(parts._replace(netloc=who + parts.netloc + port, path=path)), ""


def named(conn_id: str | None) -> Settings | None:
    """What the connection of that name says; the configured one by default, and None where that is not defined.

    Raises:
        AirflowNotFoundException: A connection that was asked for by name is not defined.
        InvalidInputError: It names no repository.
    """
    missing = first_of("airflow.sdk.exceptions:AirflowNotFoundException", "airflow.exceptions:AirflowNotFoundException")
    failed = first_of("airflow.sdk.exceptions:AirflowRuntimeError", "airflow.exceptions:AirflowRuntimeError")
    try:
        return read(base_hook().get_connection(conn_id or option("conn_id", DEFAULT)))
    except (missing, failed):
        if conn_id:
            raise
        return None


def settings(conn_id: str | None = None) -> Settings:
    """What this process shall use; each part from the connection, else from `[headwater]`."""
    found = named(conn_id) or Settings()
    return Settings(
        found.url or option("url"),
        found.project or option("project"),
        found.tracking or option("tracking"),
        found.token,
    )


_applied: list[tuple[Any, ...]] = []


def apply(conn_id: str | None = None) -> None:
    """Have `headwater.connect()` and all verbs of this process use it; asks Airflow once per task."""
    context = current_context()
    key = (os.getpid(), conn_id, None if context is None else str(context["ti"].id))
    if _applied != [key]:
        use(settings(conn_id))
        _applied[:] = [key]


def use(found: Settings) -> None:
    """Prefer these settings in this process."""
    prefer(url=found.url or None, project=found.project or None, tracking=found.tracking or None)
    if found.token:
        os.environ[TOKEN] = found.token


def apply_without_airflow() -> bool:
    """As `apply`, in the scheduler or a server, where asking Airflow may harm it; False: no repository is named there.

    Only the configuration and the environment are read there, `AIRFLOW_CONN_…` among it.
    """
    name = f"AIRFLOW_CONN_{option('conn_id', DEFAULT).upper()}"
    found = Settings()
    if os.environ.get(name):
        found = read(written_connection(name, os.environ[name]))
    url = found.url or option("url")
    if not url and not os.environ.get("HEADWATER_URL"):
        return False
    use(found._replace(url=url, project=found.project or option("project")))
    return True


def for_children() -> dict[str, str]:
    """What a program that a task starts needs to find the same repository; the environment's own settings win."""
    now = current()
    found = {"HEADWATER_URL": now.url, "HEADWATER_PROJECT": now.project, "HEADWATER_TRACKING": now.tracking}
    return {name: value for name, value in found.items() if not os.environ.get(name)}
