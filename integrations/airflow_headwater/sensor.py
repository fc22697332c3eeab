"""A sensor for a version or an alias, which gives the handle to what comes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_headwater import connection
from airflow_headwater.compat import option
from airflow_headwater.lineage import Facets
from airflow_headwater.links import HeadwaterRunLink
from airflow_headwater.runs import recording
from airflow_headwater.triggers import VersionTrigger, wanted
from headwater import StateError, Version, adapter

if TYPE_CHECKING:
    from airflow.sdk import Context


class HeadwaterVersionSensor(Facets, BaseSensorOperator):
    """Waits until a name means a version, or one newer than another; the version is used, its handle the XCom.

    Args:
        artifact: `project/artifact`, with `:alias` to wait for an alias.
        newer_than: A version of it (`v3`, 3, a name or a handle) that must be passed; any version will do without.
        deferrable: Wait in the triggerer, without a worker.
        headwater_conn_id: The connection of the repository.
        **kwargs: As for every sensor: `poke_interval`, `timeout`, `mode`, …
    """

    template_fields = ("artifact", "newer_than")
    operator_extra_links = (HeadwaterRunLink(),)
    ui_color = "#d7ecf5"
    takes_handles = True

    def __init__(
        self,
        *,
        artifact: str,
        newer_than: Any = None,
        deferrable: bool | None = None,
        headwater_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.artifact, self.newer_than, self.headwater_conn_id = artifact, newer_than, headwater_conn_id
        default = option("default_deferrable", "False", section="operators").lower() == "true"
        self.deferrable = default if deferrable is None else deferrable

    def execute(self, context: Context) -> Any:
        """Poke, or defer until the triggerer has seen it."""
        connection.apply(self.headwater_conn_id)
        if not self.deferrable:
            return super().execute(context)
        found = wanted(adapter.default_repository(), self.artifact, self._number())
        if found is not None:
            return self._use(context, found)
        trigger = VersionTrigger(self._whole_name(), self._number(), self.poke_interval, self.headwater_conn_id)
        return self.defer(trigger=trigger, method_name="execute_complete", timeout=self._patience())

    def poke(self, context: Context) -> PokeReturnValue:
        """Whether it is there."""
        found = wanted(adapter.default_repository(), self.artifact, self._number())
        return PokeReturnValue(found is not None, xcom_value=None if found is None else self._use(context, found))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Version[Any]:
        """Go on in a worker, with what the trigger found."""
        connection.apply(self.headwater_conn_id)
        return self._use(context, Version.from_json(event))

    def _use(self, context: Context, version: Version[Any]) -> Version[Any]:
        with recording(context, conn_id=self.headwater_conn_id) as here:  # type: ignore[arg-type]
            return here.join({"artifact": self.artifact}).use_artifact(version)

    def _whole_name(self) -> str:
        return str(adapter.parse_name(self.artifact).within(adapter.default_repository().home.project))

    def _patience(self) -> Any:
        from datetime import timedelta

        return timedelta(seconds=self.timeout) if self.timeout else None

    def _number(self) -> int | None:
        than = self.newer_than
        if than in (None, "", "None"):
            return None
        if isinstance(than, Version):
            return than.number
        text = str(than)
        if text.removeprefix("v").isdigit():
            return int(text.removeprefix("v"))
        number = adapter.default_repository().version(text).number
        if number is None:
            raise StateError(what=f"{text} is a draft, which nothing is newer than")
        return number
