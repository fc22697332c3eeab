"""`@hw.step` on every kind of function: what it records, and that the user's code sees no difference."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

import headwater as hw
from headwater import Repository, Version
from headwater.steps.binding import MAX_TEXT


def given(name: str = "mnist", value: Any = "data") -> Version[Any]:
    """A version that was there before."""
    with hw.start_run("import"):
        return hw.log(name, value)


def runs(repo: Repository, name: str) -> list[hw.Run]:
    return [run for run in repo.runs() if run.name == name]


def only_run(repo: Repository, name: str) -> hw.Run:
    [run] = runs(repo, name)
    return run


def uses(run: hw.Run) -> list[tuple[str, str | None]]:
    return sorted((f"{e.version.artifact}:v{e.version.number}", e.role) for e in run.uses())


def logs(run: hw.Run) -> list[tuple[str, str | None]]:
    return sorted((f"{e.version.artifact}:v{e.version.number}", e.role) for e in run.logs())


# -- inputs -------------------------------------------------------------------------
def test_an_injected_input_is_loaded_and_recorded(repo: Repository) -> None:
    given()

    @hw.step(log=hw.Log("cnn", type="model", aliases=["candidate"], metadata={"layers": 3}, tags=["gold"]))
    def train(data: str = hw.Use("mnist:latest"), lr: float = 0.1) -> str:
        assert hw.current_run().name == "train"
        return f"{data} at {lr}"

    model = train(lr=0.2)
    assert model.load() == "data at 0.2"
    assert (model.name, model.version, model.type, model.metadata) == ("vision/cnn", "v0", "model", {"layers": 3})
    assert {"candidate", "latest"} == set(model.aliases)
    assert model.tags == ["gold"]
    run = only_run(repo, "train")
    assert (run.state, run.config) == ("finished", {"lr": 0.2})
    assert uses(run) == [("mnist:v0", "data")]
    assert logs(run) == [("cnn:v0", None)]
    assert set(model.upstream().versions) == {model.id, repo.version("mnist").id}


def test_an_injected_handle_is_not_loaded(repo: Repository) -> None:
    given()

    @hw.step
    def train(data: Version[str] = hw.Use("mnist", role="train"), bare: Any = hw.Use("mnist:v0")) -> str:
        assert isinstance(data, Version)
        assert isinstance(bare, Version)
        return data.load()

    assert train() == "data"
    assert uses(only_run(repo, "train")) == [("mnist:v0", "bare"), ("mnist:v0", "train")]


def test_annotated_inputs_work_without_a_default(repo: Repository) -> None:
    given("cfg", {"depth": 2})

    @hw.step
    def train(cfg: Annotated[dict[str, int], hw.Use("cfg")], lr: float) -> tuple[int, float]:
        return cfg["depth"], lr

    assert train(lr=0.5) == (2, 0.5)
    assert uses(only_run(repo, "train")) == [("cfg:v0", "cfg")]


def test_a_caller_who_passes_an_injected_argument_wins(repo: Repository) -> None:
    given()

    @hw.step
    def train(data: str = hw.Use("mnist:latest")) -> str:
        return data

    assert train("other") == "other"
    assert uses(only_run(repo, "train")) == []
    assert train.fn("other") == "other"
    assert len(runs(repo, "train")) == 1


def test_handles_in_the_arguments_are_recorded_wherever_they_are(repo: Repository) -> None:
    versions = [given(f"a{i}", str(i)) for i in range(5)]

    @dataclass
    class Batch:
        inside: Any

    @hw.step
    def merge(first: Version[str], more: dict[str, list[Version[str]]], *rest: Any, **named: Any) -> int:
        return 1

    assert merge(versions[0], {"x": [versions[1]]}, Batch(versions[2]), {versions[3]}, named=(versions[4],)) == 1
    assert uses(only_run(repo, "merge")) == [
        ("a0:v0", "first"), ("a1:v0", "more"), ("a2:v0", "rest"), ("a3:v0", "rest"), ("a4:v0", "named")
    ]  # fmt: skip


def test_a_handle_where_a_plain_type_is_annotated_is_loaded(repo: Repository) -> None:
    one, two = given("one", "1"), given("two", "2")

    @hw.step
    def merge(first: str, others: list[str], either: str | None = None, *, raw: Any = None, untyped=None) -> Any:  # type: ignore[no-untyped-def]
        return first, others, either, raw, untyped

    arguments: Any = (one, [two, "3"], two)
    assert merge(*arguments, raw=one, untyped=two) == ("1", ["2", "3"], "2", one, two)


def test_plain_arguments_are_the_config_without_secrets_data_and_handles(repo: Repository) -> None:
    version = given()

    @hw.step
    def train(
        data: Version[str], lr: float = 0.1, password: str = "hunter2", layers: Any = (1, 2), **more: Any
    ) -> None: ...

    train(version, layers=[3], text="x" * (MAX_TEXT + 1), options={"a": 1}, frame=object())
    assert only_run(repo, "train").config == {
        "lr": 0.1, "password": "***", "layers": [3],
    }  # fmt: skip
    train(version, layers=[3], options={"a": 1}, url="postgresql://me:secret@db/x")
    newest = max(runs(repo, "train"), key=lambda run: len(run.config))
    assert newest.config["more"] == {"options": {"a": 1}, "url": "postgresql://me:***@db/x"}


# -- results ------------------------------------------------------------------------
def test_several_results_are_published_together(repo: Repository) -> None:
    @hw.step(log=("a", hw.Log("b", aliases=["test"])))
    def split() -> tuple[str, dict[str, int]]:
        return "one", {"two": 2}

    a, b = split()
    assert (a.load(), b.load()) == ("one", {"two": 2})
    assert (a.version, b.version) == ("v0", "v0")
    assert "test" in b.aliases
    assert repo.version("b:test") == b
    run = only_run(repo, "split")
    assert (run.state, logs(run)) == ("finished", [("a:v0", None), ("b:v0", None)])


def test_a_mapping_of_results_has_its_keys_as_roles(repo: Repository) -> None:
    @hw.step(log={"train": "a", "test": hw.Log("b", role="holdout")})
    def split() -> dict[str, str]:
        return {"test": "2", "train": "1"}

    handles = split()
    assert list(handles) == ["train", "test"]
    assert {key: handle.load() for key, handle in handles.items()} == {"train": "1", "test": "2"}
    assert logs(only_run(repo, "split")) == [("a:v0", "train"), ("b:v0", "holdout")]


def test_a_returned_version_is_pointed_at_and_no_bytes_move(repo: Repository) -> None:
    candidates = [given("m1", "x" * 10), given("m2", "y" * 10)]
    packs = len(list(repo.home.catalog.packs.packs()))

    @hw.step(log="best")
    def pick(models: list[Version[str]]) -> Version[str]:
        return models[1]

    best = pick(candidates)
    assert (best.name, best.digest, best.load()) == ("vision/best", candidates[1].digest, "y" * 10)
    assert len(list(repo.home.catalog.packs.packs())) == packs


def test_a_returned_artifact_is_logged_under_the_declared_name(repo: Repository) -> None:
    @hw.step(log="raw")
    def collect() -> hw.Artifact:
        artifact = hw.Artifact("any", type="table", description="by hand")
        artifact.add_bytes(b"1", "a.txt")
        return artifact

    raw = collect()
    assert (raw.name, raw.type, raw.description) == ("vision/raw", "table", "by hand")
    assert [entry.path for entry in raw.entries()] == ["a.txt"]


def test_a_path_is_logged_as_files_and_scratch_is_gone_afterwards(repo: Repository) -> None:
    seen = []

    @hw.step(log="folder")
    def make() -> Path:
        folder = hw.scratch() / "out"
        folder.mkdir()
        (folder / "a.txt").write_text("1")
        seen.append(folder)
        return folder

    version = make()
    assert not seen[0].exists()
    assert (version.load() / "a.txt").read_text() == "1"


def test_an_equal_result_makes_no_new_version(repo: Repository) -> None:
    @hw.step(log="a")
    def same() -> str:
        return "x"

    first, second = same(), same()
    assert first == second
    assert second.version == "v0"
    assert sorted(edge.kind for run in runs(repo, "same") for edge in run.logs()) == ["created", "reproduced"]


def test_results_of_the_wrong_shape_fail_the_step_and_publish_nothing(repo: Repository) -> None:
    @hw.step(log=("a", "b"))
    def split() -> Any:
        return "one", "two", "three"

    with pytest.raises(hw.InvalidInputError, match="declares 2 results and returned 3 values"):
        split()
    assert only_run(repo, "split").state == "failed"
    assert repo.artifacts() == []


def test_if_one_result_cannot_be_logged_none_is(repo: Repository) -> None:
    @hw.step(log=("a", "b"))
    def split() -> Any:
        return "one", object()

    with pytest.raises(hw.InvalidInputError):
        split()
    assert not repo.exists("a")
    assert only_run(repo, "split").state == "failed"


# -- failure ------------------------------------------------------------------------
def test_an_exception_passes_unchanged_and_the_failed_run_keeps_its_uses(repo: Repository) -> None:
    version = given()
    raised = ValueError("no")

    @hw.step(log="cnn")
    def train(data: Version[str]) -> str:
        hw.log("half", "published at once")
        raise raised

    with pytest.raises(ValueError, match="no") as caught:
        train(version)
    assert caught.value is raised
    run = only_run(repo, "train")
    assert (run.state, uses(run), logs(run)) == ("failed", [("mnist:v0", "data")], [("half:v0", None)])
    assert "ValueError: no" in str(run.record.error)
    assert not repo.exists("cnn")


@pytest.mark.parametrize(("error", "state"), [
    (KeyboardInterrupt, "cancelled"), (SystemExit, "failed"), (asyncio.CancelledError, "cancelled"), (OSError, "failed")
])  # fmt: skip
def test_how_a_run_ended_is_told_by_its_exception(repo: Repository, error: type[BaseException], state: str) -> None:
    @hw.step(log="a")
    def ends() -> str:
        raise error

    with pytest.raises(error):
        ends()
    assert only_run(repo, "ends").state == state


def test_wrong_arguments_are_pythons_own_error_and_open_no_run(repo: Repository) -> None:
    @hw.step
    def f(a: int) -> None: ...

    with pytest.raises(TypeError, match="a"):
        f()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        f(1, 2)  # type: ignore[call-arg]
    assert repo.runs() == []


def test_an_input_that_is_not_there_fails_the_run_before_the_body(repo: Repository) -> None:
    @hw.step
    def train(data: str = hw.Use("never:latest")) -> None:
        pytest.fail("ran")

    with pytest.raises(hw.NotFoundError):
        train()
    assert only_run(repo, "train").state == "failed"


# -- nesting ------------------------------------------------------------------------
def test_steps_in_steps_are_child_runs_of_the_same_group(repo: Repository) -> None:
    @hw.step(log="inner")
    def inner() -> str:
        return "x"

    @hw.step(log="outer", project="other")
    def outer() -> Version[str]:
        before = hw.current_run()
        made = inner()
        assert hw.current_run() is before
        return made

    with hw.start_run("pipeline", group="g1") as parent:
        result = outer()
    assert result.name == "other/outer"
    [run] = [run for run in repo.runs(all_projects=True) if run.name == "outer"]
    [child] = [run for run in repo.runs(all_projects=True) if run.name == "inner"]
    assert (run.parent, run.group, run.project) == (parent.id, "g1", "other")
    assert (child.parent, child.group, child.project) == (run.id, "g1", "other")


def test_a_step_of_a_run_in_another_repository_is_recorded_there(repo: Repository, tmp_path: Path) -> None:
    other = hw.connect(tmp_path / "elsewhere")

    @hw.step(log="a")
    def make() -> str:
        return "x"

    with other.start_run("outer"):
        make()
    assert other.exists(f"{other.home.project}/a")
    assert repo.runs() == []


# -- coroutines and generators ------------------------------------------------------
def test_coroutines_each_have_their_own_run(repo: Repository) -> None:
    version = given()

    @hw.step(log="a")
    async def fetch(data: str, n: int) -> str:
        mine = hw.current_run().id
        await asyncio.sleep(0.01 * n)
        assert hw.current_run().id == mine
        hw.log(f"inside{n}", n)
        return data + str(n)

    async def main() -> list[Version[str]]:
        return await asyncio.gather(*(fetch(version, n) for n in range(3)))  # type: ignore[arg-type]

    made = asyncio.run(main())
    assert [v.load() for v in made] == ["data0", "data1", "data2"]
    assert len({v.id for v in made}) == 3
    for run in runs(repo, "fetch"):
        [inside] = [name for name, _ in logs(run) if name.startswith("inside")]
        assert inside == f"inside{run.config['n']}:v0"


def test_what_a_generator_yields_are_drafts_until_it_ends(repo: Repository) -> None:
    @hw.step(log="shard")
    def shards() -> Iterator[str]:
        for n in range(3):
            hw.current_run().summary["last"] = n
            yield f"shard {n}"

    seen = []
    for shard in shards():
        assert shard.version == "draft"
        assert not repo.exists("shard")
        assert shard.load() == f"shard {len(seen)}"
        with pytest.raises(hw.StateError):
            hw.current_run()
        seen.append(shard)
    assert [shard.version for shard in seen] == ["v0", "v1", "v2"]
    run = only_run(repo, "shards")
    assert (run.state, run.summary, len(logs(run))) == ("finished", {"last": 2}, 3)


def test_a_generator_that_fails_publishes_nothing(repo: Repository) -> None:
    @hw.step(log="shard")
    def shards() -> Iterator[str]:
        yield "one"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(shards())
    assert not repo.exists("shard")
    assert only_run(repo, "shards").state == "failed"


def test_a_generator_that_its_consumer_leaves_publishes_what_was_taken(repo: Repository) -> None:
    closed = []

    @hw.step(log="shard")
    def shards() -> Iterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.append(hw.current_run().name)

    for shard in shards():
        assert shard.load() == "one"
        break
    gc.collect()
    assert closed == ["shards"]
    assert repo.version("shard").load() == "one"
    assert only_run(repo, "shards").state == "finished"


def test_a_generator_gets_what_its_consumer_sends_throws_and_wants_returned(repo: Repository) -> None:
    @hw.step
    def talk() -> Any:
        got = yield "first"
        try:
            yield got
        except KeyError:
            yield "caught"
        return "returned"

    def delegate() -> Any:
        return (yield from talk())

    conversation = delegate()
    assert next(conversation) == "first"
    assert conversation.send("sent") == "sent"
    assert conversation.throw(KeyError("x")) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(conversation)
    assert stop.value.value == "returned"
    assert only_run(repo, "talk").state == "finished"


def test_a_generator_that_is_never_asked_opens_no_run(repo: Repository) -> None:
    @hw.step(log="shard")
    def shards() -> Iterator[str]:
        yield "one"

    shards()
    assert repo.runs() == []


def test_async_generators_are_as_generators(repo: Repository) -> None:
    @hw.step(log="shard")
    async def stream(n: int) -> AsyncIterator[str]:
        for i in range(n):
            await asyncio.sleep(0)
            assert hw.current_run().name == "stream"
            yield f"shard {i}"

    async def main() -> list[Version[str]]:
        seen = []
        async for shard in stream(2):
            assert shard.version == "draft"
            seen.append(shard)
        left = stream(5)
        assert (await anext(left)).load() == "shard 0"
        await left.aclose()  # type: ignore[attr-defined]
        return seen

    seen = asyncio.run(main())
    assert [shard.version for shard in seen] == ["v0", "v1"]
    assert sorted(run.state for run in runs(repo, "stream")) == ["finished", "finished"]


def test_a_cancelled_coroutine_leaves_a_cancelled_run(repo: Repository) -> None:
    @hw.step(log="a")
    async def forever() -> str:
        await asyncio.sleep(60)
        return "x"

    async def main() -> None:
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert only_run(repo, "forever").state == "cancelled"


# -- methods ------------------------------------------------------------------------
@dataclass
class Trainer:
    lr: float
    data: Any = None

    @hw.step(log="method")
    def fit(self, n: int = 1, given: str = hw.Use("mnist")) -> str:
        return f"{given} {self.lr} {n}"

    @staticmethod
    @hw.step(log="static")
    def static(n: int) -> int:
        return n

    @classmethod
    @hw.step(log="class")
    def of_class(cls, n: int) -> str:
        return f"{cls.__name__}{n}"

    @hw.step(log="class")  # type: ignore[arg-type]
    @classmethod
    def of_class_too(cls, n: int) -> str:
        return f"{cls.__name__}{n}"

    @hw.step
    async def score(self) -> float:
        return self.lr


def test_methods_class_methods_and_static_methods(repo: Repository) -> None:
    inside = given()
    trainer = Trainer(0.5, data=inside)
    assert trainer.fit(n=3).load() == "data 0.5 3"
    assert Trainer.fit(trainer).load() == "data 0.5 1"
    assert Trainer.static(4).load() == 4
    assert Trainer.of_class(5).load() == "Trainer5"
    assert Trainer(0.1).of_class_too(6).load() == "Trainer6"  # type: ignore[call-arg, attr-defined]
    assert asyncio.run(trainer.score()) == 0.5
    assert trainer.fit.fn(trainer, 1, "raw") == "raw 0.5 1"
    assert {name for name, _ in uses(runs(repo, "fit")[0])} == {"mnist:v0"}
    assert (0, "self") not in uses(runs(repo, "score")[0])
