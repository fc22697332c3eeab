"""`HeadwaterIOManager`: every value an asset or op makes is a version, every load a use."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field

import headwater as hw
from dagster_headwater import loading, seams, spilled, storing
from dagster_headwater.declared import use_declared
from dagster_headwater.naming import HeadwaterInputConfig, HeadwaterOutputConfig, role_of, word
from dagster_headwater.resources import HeadwaterResource
from dagster_headwater.running import open_step, settle
from dagster_headwater.shown import materialization_metadata
from headwater.adapter import Unrecorded, mask_text, tracking

A = TypeVar("A")
PAUSES = (0.2, 1.0, 3.0)
"""Seconds between tries when the store says that waiting may help; the user's op is never run again for it."""
_warned: set[str] = set()


class HeadwaterIOManager(dg.ConfigurableIOManager):
    """Stores every output as a version, and loads every input as a recorded use, by the types of the annotations.

    Examples:
        .. code-block:: python

            headwater = HeadwaterResource(url=dg.EnvVar("HEADWATER_URL"), project="demo")
            dg.Definitions(
                assets=[raw, features],
                resources={"headwater": headwater, "io_manager": HeadwaterIOManager(headwater=headwater)},
            )
    """

    headwater: dg.ResourceDependency[HeadwaterResource]
    default_alias: str = Field(default="latest", description="What inputs load that are neither made nor pinned")
    honest_provenance: bool = Field(
        default=False,
        description="Whether Dagster is told which upstream data a pin or a re-execution has really read, so that an "
        "asset made from an older version shows as stale; Dagster itself takes the newest for granted",
    )
    allow_pickle: bool = Field(
        default=False, description="Whether values that no codec knows may be pickled, and pickles read"
    )

    @classmethod
    def input_config_schema(cls) -> Any:
        """For inputs with an `input_manager_key`: `ops: {scores: {inputs: {model: {version: v7}}}}`."""
        return HeadwaterInputConfig.to_config_schema()

    @classmethod
    def output_config_schema(cls) -> Any:
        """For outputs: `ops: {model: {outputs: {result: {aliases: [candidate]}}}}`."""
        return HeadwaterOutputConfig.to_config_schema()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """Close, when the process is done with the Dagster run, the runs it opened."""
        try:
            with super().yield_for_execution(context) as mine:
                yield mine
        finally:
            if context.run is not None:
                settle(context.instance, context.run.run_id)

    # -- outputs ---------------------------------------------------------------------
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Log the output as a version (one for each partition), published before Dagster hears of success.

        Raises:
            dagster.Failure: It could not be; names the reason and the repository.
        """
        with self._explained(f"storing {storing.artifact_of(context)}"):
            items = list(storing.items_of(context, obj))
            if tracking_of(self.headwater) != "strict" and seams.step_of(context) is not None:
                self._store_leniently(context, items)
            else:
                self._store(context, items)

    def _store(self, context: dg.OutputContext, items: list[tuple[str | None, Any]]) -> None:
        repo = self._patiently(self.headwater.repository)
        step = seams.step_of(context)
        options = storing.options_of(context, allow_pickle=self.allow_pickle)
        if step is None:
            self._store_outside(repo, context, items, options)
            return
        run = self._patiently(lambda: open_step(step, repo))
        use_declared(step, run, repo)
        made = [
            self._patiently(partial(storing.log_value, run, context, value, partition, options))
            for partition, value in items
        ]
        for (partition, value), version in zip(items, made):
            self._show(context, run, version, value, partition if len(items) > 1 else None)
        if context.has_asset_key:
            step.set_data_version(context.asset_key, storing.data_version(made))

    def _store_outside(self, repo: Any, context: dg.OutputContext, items: Any, options: dict[str, Any]) -> None:
        """Without a step (`migrate_io_storage`, tests of one function) a short run of its own records it."""
        name = f"store {storing.artifact_of(context)}"
        with repo.start_run(name, config={"kind": "outside"}) as run:
            for partition, value in items:
                version = storing.log_value(run, context, value, partition, options)
                context.add_output_metadata({"headwater/artifact": str(version)} if len(items) == 1 else {})

    def _show(
        self, context: dg.OutputContext, run: hw.Run, version: hw.Version[Any], value: Any, partition: str | None
    ) -> None:
        partitioned = bool(version.partition)
        pages = self.headwater.pages()
        shown = materialization_metadata(version, run, value, partitioned=partitioned, pages=pages)
        if partition is not None:
            context.step_context.add_asset_metadata(shown, asset_key=context.asset_key, partition_key=partition)
        else:
            context.add_output_metadata(shown)

    def _store_leniently(self, context: dg.OutputContext, items: list[tuple[str | None, Any]]) -> None:
        error: hw.HeadwaterError | None = None
        if not any(isinstance(value, Unrecorded) for _, value in items) and tracking() == "lenient":
            try:
                self._store(context, items)
            except hw.HeadwaterError as failed:
                error = failed
            else:
                return
        step, role = context.step_context, role_of(context.name, context.mapping_key)
        for partition, value in items:
            path = spilled.path_of(step.instance, step.run_id, step.step.key, role, partition)
            spilled.write(path, value.load() if isinstance(value, Unrecorded) else value)
        if error is not None and step.run_id not in _warned:
            _warned.add(step.run_id)
            context.log.warning("outputs of this run are not recorded: %s", self._located(error))
        context.add_output_metadata({"headwater/recorded": False})

    # -- inputs ----------------------------------------------------------------------
    def load_input(self, context: dg.InputContext) -> Any:
        """The value of the version the input means; its use is recorded where a step is running.

        Raises:
            dagster.Failure: There is no such version, or it could not be read.
        """
        with self._explained(f"loading {context.name if context.has_input_name else 'a value'}"):
            wanted = loading.read_input(context, self.default_alias)
            keys = loading.partitions_of(context)
            if keys is None:
                step = seams.step_of(context)
                return self._load(wanted, None, many=seams.is_fan_in(step, wanted.role))
            if not keys:
                return None  # e.g. what comes before the first partition
            metadata = context.definition_metadata
            many = len(keys) > 1 or bool(word(metadata, "always_dict"))
            missing = bool(word(metadata, "allow_missing_partitions"))
            found = dict(loading.each(keys, missing, lambda key: self._load(wanted, key, many=many)))
            return found if many else found.get(keys[0])

    def _load(self, wanted: loading.Wanted, partition: str | None, *, many: bool) -> Any:
        context = wanted.context
        as_ = loading.value_type(context, many=many)
        if tracking_of(self.headwater) != "strict":
            kept = loading.spilled_value(context, partition)
            if kept is not loading.MISSING:
                return kept
        repo = self._patiently(self.headwater.repository)
        step = seams.step_of(context)
        run = None if step is None else self._patiently(lambda: open_step(step, repo))
        pickles = self.allow_pickle or bool(word(context.definition_metadata, "allow_pickle"))
        version = self._patiently(lambda: loading.find(repo, run, wanted, partition))
        if self.honest_provenance and step is not None and partition is None and context.has_asset_key:
            seams.correct_provenance(step, context.asset_key, version.digest)
        return self._patiently(lambda: loading.value_of(version, as_, allow_pickle=pickles))

    # -- when something fails ----------------------------------------------------------
    def _patiently(self, call: Callable[[], A]) -> A:
        """What `call` gives, tried again while the store says that waiting may help; each call is idempotent."""
        for pause in PAUSES:
            try:
                return call()
            except hw.StorageError as error:
                if not error.retryable:
                    raise
            time.sleep(pause)
        return call()

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except hw.HeadwaterError as error:
            facts = {"headwater/error": error.code, "headwater/repository": self._where()}
            raise dg.Failure(
                description=f"Headwater, {doing}: {self._located(error)}",
                metadata=facts,
                allow_retries=not isinstance(error, hw.InvalidInputError | hw.IntegrityError),
            ) from error

    def _located(self, error: hw.HeadwaterError) -> str:
        return f"{error} (repository {self._where()})" if isinstance(error, hw.StorageError) else str(error)

    def _where(self) -> str:
        return mask_text(self.headwater.said("url") or "of $HEADWATER_URL")


def tracking_of(resource: HeadwaterResource) -> str:
    """How strict the resource, or without its word this process, is."""
    return resource.said("tracking") or tracking()
