"""Inputs named in a DAG file: Airflow resolves them while it renders a task's fields, in any operator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_headwater import connection
from airflow_headwater.compat import task_of
from airflow_headwater.identity import project_of
from airflow_headwater.runs import join_task, when_done
from headwater import HeadwaterError, adapter
from headwater import Use as CoreUse

if TYPE_CHECKING:
    from headwater import Version

_TEMPLATE = re.compile(r"{[{%].*[%}]}", re.DOTALL)
FORMS = ("version", "path", "name", "uri", "value")


class Use(CoreUse):
    """A version that the task reads, by name, in any templated field of any operator.

    In the arguments of Python tasks it becomes the handle; elsewhere, as in the environment or command of a
    `BashOperator`, the path of its files. What it resolved to shows among the rendered fields.

    Args:
        name: `artifact`, `project/artifact:alias`, `:v3`, `@blake3:…`; may be a template.
        as_: `version` (the handle), `path`, `name` (`project/artifact:v3`), `uri`, or `value` (loaded).
        role: What it is to the task, written on the lineage edge.
        fresh: Ask again, instead of reading what this DAG run first resolved the name to.

    Raises:
        InvalidInputError: The name cannot be one; of a template, when it is rendered.
    """

    __slots__ = ("as_",)
    as_: str | None

    def __new__(cls, name: str, as_: str | None = None, *, role: str | None = None, fresh: bool = False) -> Any:
        templated = bool(_TEMPLATE.search(name))
        self = super().__new__(cls, "a" if templated else name, role=role, fresh=fresh)
        if as_ is not None and as_ not in FORMS:
            raise ValueError(f"as_ is one of {', '.join(FORMS)}, not {as_!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "as_", as_)
        return self

    def resolve(self, context: dict[str, Any]) -> Any:
        """For Airflow: the version in the form the field needs; recorded as used by the task's try.

        Raises:
            HeadwaterError: It cannot be found, or the use not be recorded.
        """
        task = task_of(context)
        name = task.render_template(self.name, context) if _TEMPLATE.search(self.name) else self.name
        version = self._record(context, name)
        return self._shown(version, self.as_ or ("version" if _takes_handles(task) else "path"), context)

    def _record(self, context: dict[str, Any], name: str) -> Version[Any]:
        connection.apply(getattr(task_of(context), "headwater_conn_id", None))
        if adapter.tracking() != "off":
            try:
                return join_task(context).use_artifact(name, role=self.role, fresh=self.fresh)
            except HeadwaterError as error:
                if not adapter.lenient(error):
                    raise
        project = project_of(task_of(context))
        return adapter.default_repository().version(str(adapter.parse_name(name).within(project)) if project else name)

    def _shown(self, version: Version[Any], form: str, context: dict[str, Any]) -> Any:
        if form == "path":
            return str(_named_path(version, context))
        if form == "value":
            return version.load()
        if form == "version":
            return version
        return str(version) if form == "name" else f"headwater://{version}"

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and getattr(other, "as_", None) == self.as_

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.as_))

    def __repr__(self) -> str:
        inner = super().__repr__()
        return inner if self.as_ is None else f"{inner[:-1]}, as_={self.as_!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_use, (self.name, self.as_, self.role, self.fresh))


def _use(name: str, as_: str | None, role: str | None, fresh: bool) -> Any:  # noqa: FBT001 - pickle passes positions
    return Use(name, as_, role=role, fresh=fresh)


def accent(use: CoreUse, parameter: str) -> Any:
    """A `headwater.Use` as Airflow resolves it; in Python tasks the step loads what the annotation wants."""
    form = use.as_ if isinstance(use, Use) else "version"
    return Use(use.name, form, role=use.role or parameter, fresh=use.fresh)


def _takes_handles(task: Any) -> bool:
    return hasattr(task, "python_callable") or bool(getattr(task, "takes_handles", False))


def _named_path(version: Version[Any], context: dict[str, Any]) -> Any:
    """The files' shared read-only tree, by a link in the run's own directory that says which version it is."""
    tree = version.download()
    if adapter.tracking() == "off":
        return tree
    link = join_task(context).scratch() / str(version).replace(":", "/")
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(tree)
    return link


class NewVersions:
    """Every version of an artifact since this task last succeeded with it; for DAGs that an asset's events start.

    Airflow may start one DAG run for several events, or lose sight of some when they come at once; the
    repository's feed does not. What was handed out is acknowledged when the run that took it has finished.

    Args:
        name: The artifact, `project/artifact` or an asset of it.
    """

    def __init__(self, name: Any) -> None:
        self.name = str(getattr(name, "uri", name)).removeprefix("headwater://")

    def __repr__(self) -> str:
        return f"NewVersions({self.name!r})"

    def resolve(self, context: dict[str, Any]) -> list[Version[Any]]:
        """For Airflow: the new versions, oldest first, each recorded as used."""
        run = join_task(context)
        repo, ti = adapter.default_repository(), context["ti"]
        name = adapter.parse_name(self.name).within(repo.home.project)
        consumer = f"airflow:{ti.dag_id}/{ti.task_id}:{name.bare}"
        found = repo.events(
            consumer=consumer, kinds=("version.published",), project=name.project, artifact=name.artifact
        )
        versions = [repo.version_by_id(str(e.version_id)) for e in found if e.partition == name.partition]
        when_done(context, found.ack)
        return run.use_many([(version, None) for version in versions if version.state == "published"])
