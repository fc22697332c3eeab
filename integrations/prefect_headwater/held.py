"""Drafts that wait for the end of a batch or transaction, in its own process and in others.

Who is told that its outputs are part of something (`Sent`) keeps what it logs as drafts and notes those in
its run (`HELD`); who waits for its future finds them there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State

from headwater import NotFoundError, StateError, Version
from headwater.adapter import default_repository, find_handles
from prefect_headwater import assets, pages
from prefect_headwater.identity import task_key

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from headwater import Run

HELD = "held"
"""In the summary of a run in another process: ids of the drafts that wait."""

_log = logging.getLogger("headwater")


class Held:
    """Drafts that wait for the end of what they are part of. Safe between threads: lists only grow."""

    def __init__(self) -> None:
        self.drafts: list[Version[Any]] = []
        self.shown: set[str] = set()
        """Ids of the drafts that become Prefect assets, once they are published."""
        self._sent: list[tuple[PrefectFuture[Any] | State[Any], bool]] = []

    def expect(self, sent: Iterable[Any], *, asset: bool = False) -> None:
        """What these task runs return is part of it, even if they run in other processes."""
        self._sent += [(one, asset) for one in sent]

    def publish(self) -> list[Version[Any]]:
        """Publish everything, all or none; the handles in users' hands become the published versions.

        Raises:
            StateError: A draft was discarded meanwhile; nothing is published.
            HeadwaterError: The repository could not be reached; publishing again is fine.
        """
        drafts = self._collect()
        if not drafts:
            return []
        repo = default_repository()
        made = repo.publish_all(drafts)
        by_id = dict(zip((draft.id for draft in drafts), made))
        for handle in self._in_hands():
            if handle.id in by_id:
                handle.adopt(by_id[handle.id].record)
        new = [version for draft, version in zip(drafts, made) if draft.id == version.id]
        pages.announce(repo, new)
        assets.materialize([version for version in new if version.id in self.shown])
        return made

    def discard(self, _: Any = None) -> None:
        """Give everything up; what is published by now stays."""
        for draft in self._collect():
            try:
                draft.discard()
            except StateError as error:
                _log.warning("%s stays: %s", draft, error)

    def _collect(self) -> list[Version[Any]]:
        kept = list(self.drafts)
        for one, _ in self._sent:
            if _end_of(one).is_completed():
                kept += _kept_elsewhere(_task_run_of(one))
        waiting = {draft.id: draft for draft in kept}
        return [draft for draft in waiting.values() if draft.reload().state == "draft"]  # a failed attempt gave its up

    def _in_hands(self) -> list[Version[Any]]:
        found = list(self.drafts)
        for one, asset in self._sent:
            if _end_of(one).is_completed():
                results = find_handles(_result_of(one), "the result of a task")
                self.shown.update(version.id for version in results if asset)
                found += results
        return found


def _task_run_of(sent: PrefectFuture[Any] | State[Any]) -> Any:
    return sent.state_details.task_run_id if isinstance(sent, State) else sent.task_run_id


def _end_of(sent: PrefectFuture[Any] | State[Any]) -> State[Any]:
    if isinstance(sent, State):  # `return_state=True` has waited
        return sent
    sent.wait()
    return sent.state


def _result_of(sent: PrefectFuture[Any] | State[Any]) -> Any:
    return getattr(sent.data, "result", None) if isinstance(sent, State) else sent.result(raise_on_failure=False)


def _kept_elsewhere(task_run_id: Any) -> list[Version[Any]]:
    repo = default_repository()
    try:
        return [repo.version_by_id(draft) for draft in repo.run(task_key(task_run_id)).summary.get(HELD, ())]
    except NotFoundError:  # it records nothing
        return []


class Sent(Held):
    """In another process: the drafts are kept, and the future's owner decides."""

    def publish(self) -> list[Version[Any]]:
        """Somebody else does."""
        return []

    def discard(self, _: Any = None) -> None:
        """Somebody else does."""

    def note(self, run: Run) -> None:
        """Say which drafts these are, where that somebody looks."""
        if self.drafts:
            run.summary[HELD] = [draft.id for draft in self.drafts]
            run.flush()
