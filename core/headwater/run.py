"""A run: one attempt at executing a step; it uses versions and logs versions."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from headwater.artifact import Artifact
from headwater.callers import user_level
from headwater.code import capture, tracked_files
from headwater.conversion import Naming, artifact_of
from headwater.errors import InvalidInputError, StateError
from headwater.handle import Hooks
from headwater.heartbeat import heart
from headwater.joined import Joined, Membership, join
from headwater.lookup import find_version
from headwater.model.naming import check_part, several
from headwater.model.records import RunOpening, RunState
from headwater.model.values import mask, mask_text, to_object
from headwater.publishing import Options, publish, version_ids
from headwater.runfacts import Facts
from headwater.runspec import RunSpec, next_attempt, parent_of, run_id
from headwater.version import RunInfo, Version

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.model.records import RunRecord
    from headwater.ports import Progress

A = TypeVar("A")

current: ContextVar[Run | None] = ContextVar("headwater_run", default=None)
"""The run that `use` and `log` join in this thread or task."""

PAUSE_SECONDS = 7 * 24 * 3600.0
"""How long a paused run may wait: as long as orchestrators let a sensor wait."""


def open_run(home: Home, spec: RunSpec) -> Run:
    """Open (or find again) the run that `spec` describes; it is alive until `finish`.

    Raises:
        InvalidInputError: A config that is not JSON.
        StateError: The run has ended and `resume` is false.
    """
    if not isinstance(spec.name, str) or not spec.name:
        raise InvalidInputError(what=f"a run's name is some text, not {spec.name!r}")
    parent = current.get()
    inherited = parent.record if parent is not None and parent.home.repository_id == home.repository_id else None
    key = spec.key or f"run:{uuid.uuid4()}"
    attempt = spec.attempt or next_attempt(home, spec)
    opening = RunOpening(
        id=spec.id or run_id(home.repository_id, key, attempt),
        key=key,
        attempt=attempt,
        project=check_part(spec.project or (inherited.project if inherited else home.project), "project"),
        name=spec.name,
        group=spec.group or (inherited.group if inherited else None),
        parent=parent_of(home, spec) or (inherited.id if inherited else None),
        config=mask(to_object(spec.config, "config")),
        links=mask(dict(spec.links or {})),
        code=capture(home, spec.capture),
        actor=home.actor,
        host=socket.gethostname(),
        pid=0 if spec.shared else os.getpid(),
        resume=spec.resume,
    )
    return Run(home.catalog.runs.open(opening), home, alive=True)


class Run(RunInfo):
    """A run that acts: alive between its opening and `finish`, or one found again to look at or add facts to.

    As a context manager it is the current run of its block, and ends with it:
    `finished`, or `failed` with the exception, `cancelled` by Ctrl-C.

    Attributes:
        config: What the step was told; a dict, secrets masked, sent with the next log or finish.
        summary: What came out; a dict, sent with the next log or finish. NumPy scalars are fine.
        drafts: Given by a host that publishes later: what is logged stays a draft and is appended here.
        paused: This process has left it to another, by `pause`.
    """

    config: Facts
    summary: Facts
    drafts: list[Version[Any]] | None = None
    paused: bool = False

    def __init__(self, record: RunRecord, home: Home, *, alive: bool = False) -> None:
        super().__init__(record, home)
        self._known: set[str] = set()
        self._tokens: list[Token[Run | None]] = []
        self._scratch: Path | None = None
        if alive:
            heart.watch_run(home.catalog.runs, record.id, record.fence)

    def _adopt(self, record: RunRecord) -> None:
        self.record = record
        self.config, self.summary = Facts(record.config, "config"), Facts(record.summary, "summary")

    # -- the two verbs -----------------------------------------------------------
    def use_artifact(
        self, artifact: str | Version[A] | Artifact, *, role: str | None = None, fresh: bool = False
    ) -> Version[Any]:
        """Record that the run uses a version, and return it.

        Args:
            artifact: A name (inside a group it means one version for all), a version, or an `Artifact`
                still to be made: it is logged only if its content changed, and used.
            role: What it is to the run, e.g. `train`.
            fresh: What the name means now, whatever the group has resolved it to.

        Raises:
            InvalidInputError, ArtifactNotFoundError, VersionNotFoundError
            StateError: The version is deleted or of another repository; the run has finished.
        """
        if isinstance(artifact, Artifact):
            made, _ = publish(self.home, artifact, Options(project=self.project))
            artifact = Version(made.version, self.home)
        return self.use_many([(artifact, role)], fresh=fresh)[0]

    def use_many(
        self, uses: Sequence[tuple[str | Version[Any], str | None]], *, fresh: bool = False
    ) -> list[Version[Any]]:
        """`use_artifact` for several (name or version, role), recorded in one transaction."""
        found = [self._find(what, fresh=fresh) for what, _ in uses]
        asked = [str(what) for what, _ in uses]
        if found:
            edges = [(v.id, role, name) for v, (_, role), name in zip(found, uses, asked)]
            self.home.catalog.runs.record_uses(self.id, edges)
        self._known.update(v.id for v in found)
        return found

    def _find(self, what: str | Version[Any], *, fresh: bool) -> Version[Any]:
        if isinstance(what, str):
            group = None if fresh else self.group
            return Version(find_version(self.home, what, project=self.project, group=group), self.home)
        if not isinstance(what, Version):
            raise InvalidInputError(what=f"a version is used by its name or handle, not by {what!r}")
        if what.home.repository_id != self.home.repository_id:
            raise StateError(what=f"{what} is of another repository than run {self.name}", fix="pull it here first")
        if what.state in ("deleted", "discarded"):
            raise StateError(what=f"{what} is {what.state} and cannot be used")
        return what

    def log_artifact(  # noqa: PLR0913  # the design's spelling: each is one word of a sentence
        self,
        artifact: Any,
        name: str | None = None,
        *,
        aliases: Iterable[str] = (),
        tags: Iterable[str] = (),
        role: str | None = None,
        derived_from: Sequence[Version[Any] | str] | None = None,
        publish: bool = True,
        progress: Progress | None = None,
        finish: RunState | None = None,
        **describe: Any,
    ) -> Version[Any]:
        """Log a version: published at once, it survives a later failure of the run.

        Content equal to the artifact's newest version makes no new one; the edge is then `reproduced`.

        Args:
            artifact: An `Artifact`; a `Version`, whose manifest the name then points at; a `Path`; or a
                value that a codec knows.
            name: Under which artifact; an `Artifact` has its own.
            aliases: To move to this version.
            tags: To put on it.
            role: What it is to the run.
            derived_from: Which versions it was made from; by default all the run has used so far.
            publish: If false, a draft: invisible to names until `draft.publish()`.
            progress: Told stage, bytes done, bytes in all.
            finish: Also end the run with this state, in the same transaction.
            **describe: `type`, `metadata`, `description`, `partition`, and `allow_pickle`, `declared` for values.

        Raises:
            InvalidInputError: A name, alias, tag, type or value that cannot be.
            StateError: The run has ended, or another executor has taken it over.
            SourceChangedError: A file changed while it was read.
            IntegrityError, StorageError, AccessError: The bytes could not be read or stored.
        """
        allow_pickle, declared = bool(describe.pop("allow_pickle", False)), describe.pop("declared", None)
        unknown = describe.keys() - {"type", "metadata", "description", "partition"}
        if unknown:
            raise InvalidInputError(what=f"log_artifact() knows no argument {min(unknown)!r}")
        options = Options(
            project=self.project,
            aliases=several(aliases, "aliases"),
            tags=several(tags, "tags"),
            role=role,
            run_id=self.id,
            fence=self.record.fence,
            run=self.record,
            derived_from=version_ids(self.home, derived_from, self.project, self.group),
            draft=not publish or self.drafts is not None,
            finish=finish,
        )
        self.flush()
        with artifact_of(
            artifact, Naming(name=name, **describe), declared=declared, allow_pickle=allow_pickle
        ) as filled:
            version = self._publish(filled, options, progress)
        if publish and self.drafts is not None:
            self.drafts.append(version)
        if finish is not None:
            self._ended(finish)
        return version

    def _publish(self, artifact: Artifact, options: Options, progress: Progress | None) -> Version[Any]:
        version = Version[Any](publish(self.home, artifact, options, progress)[0].version, self.home)
        self._known.add(version.id)
        return version

    def join_artifact(
        self,
        name: str,
        *,
        group: str | None = None,
        expect_writers: int | None = None,
        writer: str | None = None,
        **describe: Any,
    ) -> Joined:
        """A version that several runs or processes make together; what is added here is this writer's part.

        `finish()` of the result (or the end of its `with` block) hands the part in; the last of
        `expect_writers` publishes the whole, once. `publish()` does it earlier.

        Args:
            name: The artifact.
            group: Which writers belong together; the run's group by default.
            expect_writers: How many parts make it whole; None: somebody calls `publish()`.
            writer: Who this is among them; the run's key by default. Processes that share a run each need their own.
            **describe: Of the part: `type`, `metadata`, `description`, `partition`, `aliases`, `tags`, `role`,
                `derived_from`. The whole has all of them.

        Raises:
            InvalidInputError: No group, or a name that cannot be.
            ConflictError: Others of the group expect another number of writers.
        """
        who = Membership(self.home, self.record, group or self.group, writer or self.key, expect_writers)
        return join(who, name, describe)

    def log_code(
        self,
        root: str | Path = ".",
        name: str | None = None,
        *,
        include: Callable[[str], bool] | None = None,
        exclude: Callable[[str], bool] | None = None,
    ) -> Version[Any]:
        """Log the files below `root` that git tracks (at most 1 MiB each) as an artifact of type `code`.

        Raises:
            InvalidInputError: No tracked file is left to log.
        """
        folder = Path(root).resolve()
        artifact = Artifact(name or f"{self.name}-code", "code")
        for path in tracked_files(folder, include, exclude):
            artifact.add_file(folder / path, path)
        if next(artifact.entries(), None) is None:
            raise InvalidInputError(what="git tracks no file to log", where=folder, fix="commit them, or use add_dir")
        return self.log_artifact(artifact, role="code")

    # -- its life ----------------------------------------------------------------
    def flush(self) -> None:
        """Send what was set in `config` and `summary` since the last time."""
        config, summary = mask(self.config.take_changed()), mask(self.summary.take_changed())
        if config or summary:
            self.record = self.home.catalog.runs.update(self.id, config=config or None, summary=summary or None)

    def pause(self, seconds: float = PAUSE_SECONDS) -> None:
        """No process attends the run for a while, as of a deferred task: it is not `lost` for that long.

        It still runs, and goes on in whichever process opens it next, with the usual lease.

        Raises:
            StateError: It has ended, or another executor has gone on with it already.
        """
        self.flush()
        heart.forget_run(self.id)
        self.record = self.home.catalog.runs.pause(self.id, seconds, fence=self.record.fence)
        self.paused = True

    def finish(
        self,
        state: RunState = "finished",
        error: BaseException | str | None = None,
        *,
        cached_from: str | None = None,
    ) -> None:
        """End the run; its open drafts are discarded unless it `finished`. Ending it the same way again is fine.

        Args:
            state: How it ended.
            error: Why, unless it went well; secrets in it are masked.
            cached_from: Of a `cached` run: the id of the run whose versions it reuses.

        Raises:
            StateError: It has ended otherwise, or another executor has taken it over.
        """
        self.flush()
        if self.state == state:
            return
        text = None if error is None else mask_text(_shown(error))
        self.record = self.home.catalog.runs.close(
            self.id, state, fence=self.record.fence, error=text, cached_from=cached_from
        )
        self._ended(self.record.state)

    def _ended(self, state: RunState) -> None:
        heart.forget_run(self.id)
        self.record = msgspec.structs.replace(self.record, state=state)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def scratch(self) -> Path:
        """A directory of the run's own, made when first asked for and removed when the run ends."""
        if self._scratch is None:
            self._scratch = self.home.folder / "scratch" / self.id
            self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def knows(self, version: Version[Any]) -> bool:
        """Whether this run has used or logged the version in this process."""
        return version.id in self._known

    def __enter__(self) -> Self:
        self._tokens.append(current.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        current.reset(self._tokens.pop())
        if self.state != "running":
            return
        if error is None:
            self.finish()
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        state: RunState = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            self.finish(state, error)
        except Exception as second:  # noqa: BLE001  # the user's own exception must reach the user
            error.add_note(f"headwater could not close run {self.id}: {second}")


def _shown(error: BaseException | str) -> str:
    return error if isinstance(error, str) else f"{type(error).__qualname__}: {error}"


def _notice_read(version: Any) -> None:
    run = current.get()
    if run is not None and run.state == "running" and not run.knows(version):
        run._known.add(version.id)  # noqa: SLF001  # warn once
        warnings.warn(
            f"run {run.name} reads {version} without having used it; run.use_artifact(…) would record it",
            stacklevel=user_level(),
        )


Hooks.on_read = _notice_read
