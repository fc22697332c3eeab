"""From a task's page in Airflow to its run in Headwater."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs
from airflow.sdk import BaseOperatorLink

from airflow_headwater.compat import option
from airflow_headwater.identity import attempt_of, task_key

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


@attrs.define()
class HeadwaterRunLink(BaseOperatorLink):
    """Leads to the run of the try that is looked at; computed from its ids, so a server needs no repository.

    Where no pages are configured it is empty, and the task's log names the command that shows the run.
    """

    name = "Headwater run"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """The page of the run, or nothing."""
        pages = option("ui_url").rstrip("/")
        return f"{pages}/runs/{quote(task_key(ti_key), safe='')}?attempt={attempt_of(ti_key)}" if pages else ""
