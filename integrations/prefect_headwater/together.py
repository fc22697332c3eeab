"""All or nothing: inside a transaction or a batch, outputs stay drafts until its end.

`with batch():` is Headwater's own. Its drafts are published in one catalog transaction when the block
ends well, and that may fail it; a task may be retried inside. Prefect's `transaction()` works too,
with Prefect's rules: a commit that fails is only logged, and the first failed attempt of a task inside
rolls the whole back, so that later attempts have nothing to be part of and are refused.

Steps in other processes cannot see either. They are told when they are sent there (`Sent`), keep their
results as drafts, and their futures are asked for them at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.transactions import CommitMode, TransactionState, get_transaction

from headwater import NotFoundError, StateError, Version
from headwater.adapter import default_repository, find_handles
from prefect_headwater import assets, pages
from prefect_headwater.identity import task_key

if TYPE_CHECKING:
    from prefect.transactions import BaseTransaction

_log = logging.getLogger("headwater")
_batch: ContextVar[Held | None] = ContextVar("prefect_headwater_batch", default=None)


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
        for handle in self._handles():
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
        waiting = {draft.id: draft for draft in self._handles() if draft.state == "draft"}
        return [draft for draft in waiting.values() if draft.reload().state == "draft"]  # a failed attempt gave its up

    def _handles(self) -> list[Version[Any]]:
        found = list(self.drafts)
        for one, asset in self._sent:
            if _end_of(one).is_completed():
                results = find_handles(_result_of(one), "the result of a task")
                self.shown.update(version.id for version in results if asset)
                found += results + _logged_elsewhere(_task_run_of(one))
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


def _logged_elsewhere(task_run_id: Any) -> list[Version[Any]]:
    """The drafts of a task run, from whatever process; only steps that were told leave any."""
    try:
        run = default_repository().run(task_key(task_run_id))
    except NotFoundError:  # it records nothing
        return []
    return [version for version in run.logged_artifacts() if version.state == "draft"]


class _OfTransaction(Held):
    """Commit and rollback hook of the outermost transaction."""

    def commit(self, _: Any) -> None:
        """Prefect only logs what this raises."""
        self.publish()

    def attach(self, transaction: BaseTransaction) -> None:
        """From now on the transaction decides."""
        transaction.on_commit_hooks.append(self.commit)
        transaction.on_rollback_hooks.append(self.discard)


@contextmanager
def batch() -> Iterator[None]:
    """What steps log inside the block is published together when it ends, or not at all when it raises.

    Nested blocks are part of the outermost. Works in sync and async flows, with every task runner, and
    with retries inside; `.delay` leaves it, as nobody waits for its task runs.

    Raises:
        StateError, StorageError: It could not be published; nothing was.
    """
    if _batch.get() is not None:
        yield
        return
    held = Held()
    token = _batch.set(held)
    try:
        yield
    except BaseException:
        held.discard()
        raise
    else:
        held.publish()
    finally:
        _batch.reset(token)


def holding() -> Held | None:
    """What the caller's outputs are part of, or None: they are published at once.

    Raises:
        StateError: They are part of a transaction that was rolled back already.
    """
    held = _batch.get()
    if held is not None:
        return held
    transaction = _outermost()
    if transaction is not None:
        return _of(transaction)
    context = TaskRunContext.get()
    return None if context is None else getattr(context.task, "sent", None)  # of a step in another process


class Sent(Held):
    """In another process: the drafts are kept, and the future's owner decides."""

    def publish(self) -> list[Version[Any]]:
        """Somebody else does."""
        return []

    def discard(self, _: Any = None) -> None:
        """Somebody else does."""


def _outermost() -> BaseTransaction | None:
    """The user's transaction that will commit what the caller logs. Every task run has one too: those do not count.

    None where all is committed at once, and inside one that was committed before it began (its key is known):
    Prefect will not commit it again.
    """
    outer, transaction = None, get_transaction()
    while transaction is not None and transaction.commit_mode != CommitMode.EAGER:
        parent = transaction.get_parent()
        if not _is_of_task_run(transaction, parent):
            outer = transaction
        transaction = parent
    return None if outer is None or outer.state == TransactionState.COMMITTED else outer


def _is_of_task_run(transaction: BaseTransaction, parent: BaseTransaction | None) -> bool:
    """The first that logs as its task run; the user's in the body of a task do so too."""
    task_run = _logs_as(transaction)
    return task_run is not None and (parent is None or _logs_as(parent) != task_run)


def _logs_as(transaction: BaseTransaction) -> Any:
    return (getattr(transaction.logger, "extra", None) or {}).get("task_run_id")


def _of(transaction: BaseTransaction) -> Held:
    if transaction.state == TransactionState.ROLLED_BACK:
        raise StateError(
            what="the transaction around this task was rolled back when an earlier attempt failed",
            fix="use prefect_headwater.batch(), which retries may be part of",
        )
    for hook in transaction.on_commit_hooks:
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, _OfTransaction):
            return owner
    held = _OfTransaction()
    held.attach(transaction)
    return held
