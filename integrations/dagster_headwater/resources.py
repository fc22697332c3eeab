"""`HeadwaterResource`: how Dagster is told where Headwater is, and the verbs for code that stores its own data."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

import headwater as hw
from dagster_headwater import seams
from dagster_headwater.declared import use_declared
from dagster_headwater.running import identity_of, link_to, open_step, settle
from dagster_headwater.shown import materialization_metadata
from headwater.adapter import parse_name, prefer, run_as, to_environment

_opening = threading.Lock()


class HeadwaterResource(dg.ConfigurableResource[Any]):
    """A Headwater repository. Nothing is opened before the first load, store or call.

    Examples:
        .. code-block:: python

            hw = HeadwaterResource(url=dg.EnvVar("HEADWATER_URL"), project="demo")
            dg.Definitions(assets=[...], resources={"headwater": hw, "io_manager": HeadwaterIOManager(headwater=hw)})
    """

    url: str | None = Field(
        default=None,
        description="The repository: a folder, postgresql://…, or a server; $HEADWATER_URL if left out. Use dg.EnvVar "
        "for one with a password",
    )
    project: str | None = Field(default=None, description="Where artifacts and runs live; $HEADWATER_PROJECT")
    tracking: str | None = Field(
        default=None,
        description="strict: what cannot be recorded fails the step. lenient: one warning, and the value stays in "
        "Dagster's own storage for the rest of the run",
    )
    dagster_url: str | None = Field(default=None, description="Dagster's web address, for links back from runs")
    pages_url: str | None = Field(
        default=None, description="Address of Headwater's pages, for links from materializations; the url if it is http"
    )

    def repository(self) -> hw.Repository:
        """The repository, opened once per process; it is also the one that `hw.use` and `hw.log` in assets see.

        Raises:
            HeadwaterError: It cannot be opened.
        """
        with _opening:
            self._prefer()
            return hw.connect()

    def said(self, field: str) -> str | None:
        """A field's value. `migrate_io_storage` takes resources whose references to the environment nobody followed."""
        value: str | None = getattr(self, field)
        return value.get_value() if isinstance(value, dg.EnvVar) else value

    def _prefer(self) -> None:
        told = {field: self.said(field) for field in ("url", "project", "tracking")}
        if any(told.values()):
            prefer(**told)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Say which repository plain `hw.use` and `hw.log` mean; opens nothing."""
        self._prefer()
        if self.dagster_url:
            link_to(self.dagster_url)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """Close, when the process is done with the Dagster run, the runs it opened."""
        self.setup_for_execution(context)
        try:
            yield self
        finally:
            if context.run is not None:
                settle(context.instance, context.run.run_id)

    # -- for assets, ops and checks that store or read by themselves ---------------
    @contextmanager
    def run(self, context: Any = None) -> Iterator[hw.Run]:
        """The Headwater run of the step: the same that the IO manager records in. `deps=` become uses.

        Inside the block `hw.use`, `hw.log` and `@hw.step` join it too. It ends when the step does, not with the block.

        Args:
            context: Of the asset, op or check; the running step's if None.

        Raises:
            StateError: Outside a step.
            HeadwaterError: The repository cannot be reached.
        """
        step = _step(context)
        repo = self.repository()
        run = open_step(step, repo)
        use_declared(step, run, repo)
        with run_as(identity_of(step)):
            yield run

    def materialize_result(
        self, context: Any, value: Any, *, asset_key: dg.AssetKey | None = None, **options: Any
    ) -> dg.MaterializeResult[Any]:
        """What an asset that stores its own data returns: metadata, links, and the digest as its data version.

        Args:
            context: Of the asset.
            value: A version it has logged, or a value or `hw.Artifact` to log as the asset's own artifact now.
            asset_key: Which of a multi-asset's assets; without, the only one.
            **options: As `Run.log_artifact`.

        Raises:
            HeadwaterError: As `Run.log_artifact`.
        """
        step = _step(context)
        repo = self.repository()
        run = open_step(step, repo)
        key = asset_key or context.asset_key
        if not isinstance(value, hw.Version):
            partition = context.partition_key if context.has_partition_key else None
            use_declared(step, run, repo)
            named = {"role": "result" if asset_key is None else hw.name(*key.path), **options}
            value = run.log_artifact(value, seams.artifact_of(step, key), partition=partition, **named)
        return dg.MaterializeResult(
            asset_key=key,
            metadata=materialization_metadata(value, run, pages=self.pages()),
            data_version=dg.DataVersion(value.digest),
        )

    def promote(self, context: Any, artifact: str | dg.AssetKey, to: str) -> hw.Version[Any]:
        """Point an alias at the version of `artifact` that this step (e.g. an asset check) has loaded or logged.

        Args:
            context: Of the check, asset or op.
            artifact: The name of the artifact, or the asset's key.
            to: The alias, e.g. `prod`.

        Raises:
            StateError: This step has neither loaded nor logged a version of it.
        """
        repo, step = self.repository(), _step(context)
        run = open_step(step, repo)
        name = seams.artifact_of(step, artifact) if isinstance(artifact, dg.AssetKey) else artifact
        wanted = parse_name(name).within(run.project)
        known = [*run.used_artifacts(), *run.logged_artifacts()]
        found = [v for v in known if (v.record.project, v.record.artifact) == (wanted.project, wanted.artifact)]
        if not found:
            raise hw.StateError(what=f"this step has loaded no version of {name}", fix="take the asset as an argument")
        repo.set_alias(f"{found[-1].name}:{to}", found[-1])
        return found[-1]

    def pipes_env(self, context: Any = None) -> dict[str, str]:
        """Environment for a Pipes child: with it `hw.use` and `hw.log` there join this step's run.

        `pipes.run(command=[…], context=context, env=headwater.pipes_env(context))`. The address of the repository
        travels in the environment only, never in Pipes messages.
        """
        step = _step(context)
        repo = self.repository()
        use_declared(step, open_step(step, repo), repo)
        given = {"HEADWATER_URL": self.said("url"), "HEADWATER_PROJECT": repo.home.project}
        return {name: value for name, value in given.items() if value} | {
            "HEADWATER_RUN": to_environment(identity_of(step))
        }

    def pages(self) -> str | None:
        """Where pages about versions and runs are, if anywhere."""
        found = self.said("pages_url") or str(self.repository())
        return found.rstrip("/") if found.startswith("http") else None


def _step(context: Any) -> Any:
    step = seams.current_step() if context is None else seams.step_of(context)
    if step is None:
        raise hw.StateError(what="there is no step whose run to join", fix="call this in an asset, op or check")
    return step
