"""What adapters get from the binding engine: a host says which run, who ends it, and when results are published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import headwater as hw
from headwater import Repository, RunIdentity
from headwater.runspec import run_id
from headwater.steps.ambient import join, run_as, spec_of
from headwater.steps.binding import Host, Hosted
from headwater.steps.declared import read_outputs
from headwater.steps.decorator import make_step
from headwater.steps.inspection import Plan


class SkippedError(Exception):
    """As an orchestrator's signal that a task skipped itself."""


def hosted_by(repo: Repository, **options: Any) -> tuple[Host, list[hw.Run]]:
    opened: list[hw.Run] = []

    def host(plan: Plan, config: Mapping[str, Any]) -> Hosted:
        opened.append(repo.start_run(plan.name, config=dict(config), key=f"task/{plan.name}"))
        return Hosted(run=opened[-1], **options)

    return host, opened


def test_a_host_that_publishes_later_gets_drafts(repo: Repository) -> None:
    handed: list[hw.Version] = []
    host, [*_] = hosted_by(repo, publish=False, owns=False, recorded=lambda _, versions: handed.extend(versions))

    def split() -> tuple[str, str]:
        return "1", "2"

    a, b = make_step(split, read_outputs(("a", "b")), host=host)()
    assert handed == [a, b]
    assert (a.version, b.version) == ("draft", "draft")
    assert not repo.exists("a")
    repo.publish_all(handed, {a.id: ["prod"]})
    repo.run("task/split").finish()
    assert repo.version("a:prod").load() == "1"


def test_a_host_is_told_what_was_recorded_before_the_run_ends(repo: Repository) -> None:
    seen: list[Any] = []

    def recorded(run: hw.Run, versions: Any) -> None:
        seen.append((run.state, [str(version) for version in versions]))

    host, opened = hosted_by(repo, recorded=recorded)

    def make() -> str:
        return "1"

    def shards() -> Iterator[str]:
        yield "2"
        yield "3"

    make_step(make, read_outputs("a"), host=host)()
    list(make_step(shards, read_outputs("b"), host=host)())
    assert seen == [("running", ["vision/a:v0"]), ("running", ["vision/b:v0", "vision/b:v1"])]
    assert [repo.run(run.id).state for run in opened] == ["finished", "finished"]


def test_a_host_that_fails_while_it_is_told_fails_the_step(repo: Repository) -> None:
    def recorded(*_: Any) -> None:
        raise RuntimeError("the orchestrator is gone")

    host, [*_] = hosted_by(repo, recorded=recorded)

    def make() -> str:
        return "1"

    with pytest.raises(RuntimeError, match="gone"):
        make_step(make, read_outputs("a"), host=host)()
    assert repo.run("task/make").state == "failed"


def test_a_host_reads_its_frameworks_exceptions(repo: Repository) -> None:
    host, [*_] = hosted_by(repo, state_after=lambda e: "skipped" if isinstance(e, SkippedError) else "failed")

    def work() -> str:
        raise SkippedError

    with pytest.raises(SkippedError):
        make_step(work, read_outputs("a"), host=host)()
    assert repo.run("task/work").state == "skipped"


def test_in_a_run_that_was_joined_the_drafts_of_a_failing_generator_are_discarded(repo: Repository) -> None:
    @hw.step(log="shard")
    def shards() -> Iterator[str]:
        yield "one"
        raise ValueError

    identity = RunIdentity(key="task/1")
    with run_as(identity):
        taken: list[hw.Version[str]] = []
        with pytest.raises(ValueError):
            for shard in shards():
                taken.append(shard)  # noqa: PERF402 - what was yielded before it failed
        assert taken[0].reload().state == "discarded"
        assert join(identity) is join(identity)
        join(identity).finish("failed")


def test_any_process_finds_the_same_run_by_key_and_attempt(repo: Repository) -> None:
    identity = RunIdentity(key="task/1", attempt=3, group="g")
    joined = join(identity)
    again = repo.start_run("task/1", key="task/1", attempt=3, group="g")
    assert again.id == joined.id
    assert spec_of(identity).attempt == 3
    assert join(RunIdentity(key="task/1", attempt=4)).id != joined.id
    assert repo.run(joined.id).state == "lost"
    joined_again = repo.run("task/1")
    joined_again.finish()
    assert (joined_again.attempt, joined_again.state) == (4, "finished")


def test_a_run_that_was_paused_is_opened_anew_by_who_goes_on_with_it(repo: Repository) -> None:
    identity = RunIdentity(key="task/1", group="g", parent_key="g")
    before = join(identity)
    assert before.parent == run_id(repo.id, "g", 1)
    before.summary["waited"] = True
    before.pause()
    after = join(identity)
    assert (after is before, after.id == before.id, after.state) == (False, True, "running")
    after.finish()
    assert repo.run("task/1").record.summary == {"waited": True}


def test_a_value_that_no_codec_knows_is_pickled_only_on_request(repo: Repository) -> None:
    @hw.step(log=hw.Log("odd", allow_pickle=True))
    def make() -> Any:
        return {1, 2}.union

    with pytest.raises(hw.InvalidInputError):
        make().load()
    assert make().load(allow_pickle=True)() == {1, 2}
