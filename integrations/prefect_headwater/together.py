"""All or nothing: inside a transaction or a batch, outputs stay drafts until its end.

`with batch():` is Headwater's own. Its drafts are published in one catalog transaction when the block
ends well, and that may fail it; a task may be retried inside. Prefect's `transaction()` works too,
with Prefect's rules: a commit that fails is only logged, and the first failed attempt of a task inside
rolls the whole back, so that later attempts have nothing to be part of and are refused.

Tasks in other processes cannot see either. They are told when they are sent there, and what they log is found
at the end. Who submits a plain task knows of a batch only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prefect.context import FlowRunContext, TaskRunContext
from prefect.transactions import CommitMode, TransactionState, get_transaction

from headwater import StateError
from prefect_headwater.held import Held, Sent
from prefect_headwater.identity import context_around

if TYPE_CHECKING:
    from prefect import Task
    from prefect.transactions import BaseTransaction

T = TypeVar("T", bound="Task[..., Any]")
_batch: ContextVar[Held | None] = ContextVar("prefect_headwater_batch", default=None)


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
    """What tasks log inside the block is published together when it ends, or not at all when it raises.

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
        with _telling_plain_tasks(held):
            yield
    except BaseException:
        held.discard()
        raise
    else:
        held.publish()
    finally:
        _batch.reset(token)


@contextmanager
def _telling_plain_tasks(held: Held) -> Iterator[None]:
    """Inside the block, plain tasks that the flow submits are told too; steps see to it themselves."""
    context = FlowRunContext.get()
    if context is None:
        yield
        return
    runner: Any = context.task_runner
    submit = runner.submit

    def told(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
        if _batch.get() is not held or hasattr(task, "ends_its_runs"):
            return submit(task, *args, **kwargs)
        future = submit(tell(task), *args, **kwargs)
        held.expect([future])
        return future

    runner.submit = told
    try:
        yield
    finally:
        if runner.__dict__.get("submit") is told:
            del runner.submit


def tell(task: T) -> T:
    """A copy that knows, in whatever process it will run, that what it logs is part of something."""
    told: Any = copy(task)
    told.sent = Sent()
    return cast("T", told)


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
    while context is not None:  # in another process: the task was told, or the one that called it
        sent: Sent | None = getattr(context.task, "sent", None)
        if sent is not None:
            return sent
        context = context_around(context)
    return None


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
