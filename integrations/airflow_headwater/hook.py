"""The hook: a repository behind an Airflow connection."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_headwater import connection
from airflow_headwater.compat import base_hook
from headwater import HeadwaterError, InvalidInputError, Repository
from headwater.adapter import connect, current, mask_text

BaseHook: Any = base_hook()


class HeadwaterHook(BaseHook):  # type: ignore[misc]  # found at run time, as its place moved
    """Opens the repository that a connection of type `headwater` names.

    Works in workers, which have no access to Airflow's database: connections come from Airflow's API there.

    Args:
        headwater_conn_id: The connection.
    """

    conn_name_attr: ClassVar[str] = "headwater_conn_id"
    default_conn_name: ClassVar[str] = connection.DEFAULT
    conn_type: ClassVar[str] = "headwater"
    hook_name: ClassVar[str] = "Headwater"

    def __init__(self, headwater_conn_id: str = connection.DEFAULT) -> None:
        super().__init__()
        self.headwater_conn_id = headwater_conn_id

    def get_conn(self) -> Repository:
        """The repository; the caller may close it, and each process opens its own.

        Raises:
            InvalidInputError: Neither the connection nor the configuration names one.
            HeadwaterError: It cannot be opened.
        """
        found = connection.settings(self.headwater_conn_id)
        if not found.url:
            raise InvalidInputError(what="no repository is named", where=self.headwater_conn_id)
        if found.token:
            connection.use(found)
        return connect(found.url, project=found.project or current().project)

    def test_connection(self) -> tuple[bool, str]:
        """For the button in Airflow's connection form: whether the repository opens, and which one it is."""
        try:
            with self.get_conn() as repo:
                return True, f"Repository {repo.id} at {mask_text(str(repo))}"
        except HeadwaterError as error:
            return False, str(error)
        except Exception as error:  # noqa: BLE001 - the form shows the text, whatever it is
            return False, mask_text(f"{type(error).__name__}: {error}")
