"""What Airflow reads of the provider, in every process; this module imports nothing."""

from typing import Any

_PYTHON = {
    "operators": ["airflow_headwater.operators", "airflow_headwater.log_operators", "airflow_headwater.decorator"],
    "sensors": ["airflow_headwater.sensor"],
    "hooks": ["airflow_headwater.hook"],
    "triggers": ["airflow_headwater.triggers"],
}


def get_provider_info() -> dict[str, Any]:
    """The provider's description; `package-name` is the distribution's, or every `@task` of a deployment breaks."""
    return {
        "package-name": "headwater",
        "name": "Headwater",
        "description": "Versions and lineage for everything tasks read and make.",
        "integrations": [
            {"integration-name": "Headwater", "external-doc-url": "https://headwater.example.org", "tags": ["software"]}
        ],
        **{kind: [{"integration-name": "Headwater", "python-modules": modules}] for kind, modules in _PYTHON.items()},
        "task-decorators": [{"name": "headwater", "class-name": "airflow_headwater.decorator.headwater_task"}],
        "connection-types": [_connection_type()],
        "asset-uris": [
            {
                "schemes": ["headwater"],
                "handler": "airflow_headwater.assets.sanitize_uri",
                "factory": "airflow_headwater.assets.artifact_asset",
                "to_openlineage_converter": "airflow_headwater.lineage.convert_asset",
            }
        ],
        "extra-links": ["airflow_headwater.links.HeadwaterRunLink"],
        "config": {"headwater": {"description": "Headwater, see docs/airflow.md.", "options": _options()}},
    }


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "headwater",
        "hook-class-name": "airflow_headwater.hook.HeadwaterHook",
        "hook-name": "Headwater",
        "ui-field-behaviour": {
            "hidden-fields": ["port", "schema"],
            "relabeling": {"host": "Repository URL", "login": "User", "password": "Password or token"},
            "placeholders": {"host": "https://headwater.example.org, postgresql://host/database or a folder"},
        },
        "conn-fields": {
            "project": {"label": "Project", "schema": {"type": ["string", "null"]}},
            "tracking": {"label": "Tracking (strict, lenient, off)", "schema": {"type": ["string", "null"]}},
        },
    }


def _options() -> dict[str, Any]:
    return {
        "conn_id": _option("The connection that tasks use.", "headwater_default"),
        "url": _option("The repository, where no such connection is defined.", ""),
        "project": _option("The project of names that say none, where the connection says none.", ""),
        "tracking": _option("strict, lenient or off, where the connection says none.", ""),
        "instance": _option("Name of this Airflow; give one where several share a repository.", ""),
        "ui_url": _option("Where Headwater's web pages are, for links from task pages.", ""),
        "capture": _option("What to record without code: any of inlets, outlets, hook_lineage; comma-separated.", ""),
        "xcom_threshold": _option("Largest XCom, bytes of JSON, that the XCom backend leaves in Airflow.", "65536"),
        "xcom_project": _option("The project of the versions that the XCom backend logs.", ""),
        "xcom_allow_pickle": _option("Whether the XCom backend pickles values that no codec knows.", "False"),
    }


def _option(description: str, default: str) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": "string",
        "example": None,
        "default": default,
    }
