"""Waiting in the triggerer: for one version, for a deferred sensor; for all of them, to start DAGs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_headwater import connection
from airflow_headwater.assets import describe
from headwater import HeadwaterError, NotFoundError, adapter

if TYPE_CHECKING:
    from headwater import Repository, Version
    from headwater.adapter import Event


def open_repository(conn_id: str | None) -> Repository:
    """The repository, for the process that calls; blocking, so not for an event loop."""
    found = connection.settings(conn_id)
    connection.use(found)
    return adapter.connect(found.url or adapter.current().url, project=found.project or adapter.current().project)


def wanted(repo: Repository, name: str, than: int | None) -> Version[Any] | None:
    """The version that the name means, once its number is above `than`; None while there is none."""
    try:
        version = repo.version(name)
    except NotFoundError:
        return None
    return version if than is None or (version.number is not None and version.number > than) else None


class VersionTrigger(BaseTrigger):
    """Fires once, when a name means a version, or one newer than a given one; its payload is the handle's JSON.

    Args:
        name: `project/artifact:alias`.
        newer_than: A number; any version will do without.
        poll_seconds: How often the repository is asked.
        conn_id: The connection of the repository.
    """

    def __init__(
        self, name: str, newer_than: int | None = None, poll_seconds: float = 30.0, conn_id: str | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.name, self.newer_than, self.poll_seconds, self.conn_id = name, newer_than, poll_seconds, conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; JSON only."""
        names = ("name", "newer_than", "poll_seconds", "conn_id")
        return "airflow_headwater.triggers.VersionTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until it is there; weather is waited out."""
        while True:
            found = await asyncio.to_thread(self._look)
            if found is not None:
                yield TriggerEvent(found)  # type: ignore[no-untyped-call]  # Airflow's
                return
            await asyncio.sleep(self.poll_seconds)

    def _look(self) -> dict[str, Any] | None:
        try:
            with open_repository(self.conn_id) as repo:
                found = wanted(repo, self.name, self.newer_than)
                return None if found is None else found.to_json()
        except HeadwaterError as error:
            if not getattr(error, "retryable", False):
                raise
            self.log.warning("headwater: %s", error)
            return None


class VersionEventTrigger(BaseEventTrigger):
    """Fires for every new version of an artifact, or move of one alias; for `AssetWatcher`.

    One event for each poll, with all that is new: Airflow strands events that come in bursts. The place in the
    feed is kept in the repository under the name of the consumer and moves after the event was handed over, so
    nothing is lost while no triggerer runs, and an event may come twice after a crash.

    Args:
        name: `project/artifact`.
        alias: Only moves of this alias; every new version without.
        poll_seconds: How often the feed is read.
        conn_id: The connection of the repository.
        consumer: The name its place is kept under; two deployments that share a repository need two.
    """

    def __init__(
        self,
        name: str,
        alias: str | None = None,
        poll_seconds: float = 30.0,
        conn_id: str | None = None,
        consumer: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.name, self.alias, self.poll_seconds, self.conn_id = name, alias, poll_seconds, conn_id
        self.consumer = consumer

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; JSON only."""
        names = ("name", "alias", "poll_seconds", "conn_id", "consumer")
        return "airflow_headwater.triggers.VersionEventTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Follow the feed for ever."""
        while True:
            payload, cursor = await asyncio.to_thread(self._look)
            if payload:
                yield TriggerEvent({"headwater": payload})  # type: ignore[no-untyped-call]  # Airflow's
            if cursor is not None:
                await asyncio.to_thread(self._acknowledge, cursor)
            await asyncio.sleep(self.poll_seconds)

    def _name(self) -> str:
        return self.consumer or f"airflow-watcher:{self.name}:{self.alias or '*'}"

    def _look(self) -> tuple[list[dict[str, Any]], Event | None]:
        try:
            with open_repository(self.conn_id) as repo:
                return self._new(repo)
        except HeadwaterError as error:
            self.log.warning("headwater: %s", error)  # the next poll asks again; a watcher that ended would be silent
            return [], None

    def _new(self, repo: Repository) -> tuple[list[dict[str, Any]], Event | None]:
        name = adapter.parse_name(self.name).within(repo.home.project)
        kinds = ("alias.set",) if self.alias else ("version.published",)
        found = repo.events(consumer=self._name(), kinds=kinds, project=name.project, artifact=name.artifact)
        return self._described(repo, found), (found[-1] if len(found) else None)

    def _described(self, repo: Repository, found: Sequence[Event]) -> list[dict[str, Any]]:
        meant = [e for e in found if self.alias is None or e.details.get("alias") == self.alias]
        versions = [repo.version_by_id(str(event.version_id)) for event in meant if event.version_id]
        return [describe(version) for version in versions if version.state == "published"]

    def _acknowledge(self, event: Event) -> None:
        try:
            with open_repository(self.conn_id) as repo:
                repo.events(consumer=self._name(), limit=1).ack(event)
        except HeadwaterError as error:
            self.log.warning("headwater: %s", error)
