"""`use`, `log`, `scratch`, `current_run`; what an orchestrator says; tracking lenient and off."""

from __future__ import annotations

import contextvars
import pickle
import sys
import threading
import types
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater import Repository, RunIdentity, Version
from headwater.steps import ambient, unrecorded


def test_use_and_log_join_the_run_around_them(repo: Repository) -> None:
    with hw.start_run("load"):
        hw.log("mnist", "data", aliases=["prod"], type="text", metadata={"rows": 1}, role="out")
    with hw.start_run("train") as run:
        version = hw.use("mnist:prod", role="train")
        assert version.load() == "data"
        assert hw.use("mnist", bytes).load() == b"data"
        assert hw.use(version) == version
        made = hw.log("cnn", version)
    assert made.digest == version.digest
    assert {(e.asked, e.role) for e in run.uses()} >= {("mnist:prod", "train")}
    assert [(e.version.artifact, e.kind) for e in run.logs()] == [("cnn", "created")]


@pytest.mark.parametrize("call", [lambda: hw.use("a"), lambda: hw.log("a", 1), hw.scratch, hw.current_run])
def test_outside_a_run_the_verbs_say_what_to_do(repo: Repository, call: Any) -> None:
    with pytest.raises(hw.StateError, match=r"outside a run.*@hw\.step"):
        call()


def test_a_thread_has_the_run_only_with_a_copied_context(repo: Repository) -> None:
    found: list[Any] = []

    def body() -> None:
        try:
            found.append(hw.current_run().id)
        except hw.StateError as error:
            found.append(error)

    @hw.step
    def threads() -> str:
        copied = contextvars.copy_context()
        for target in (body, lambda: copied.run(body)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        return hw.current_run().id

    mine = threads()
    assert isinstance(found[0], hw.StateError)
    assert "copy_context" in str(found[0])
    assert found[1] == mine


def test_reading_a_version_without_a_use_warns_once(repo: Repository) -> None:
    with hw.start_run("load"):
        version = hw.log("mnist", "data")
    hidden = [version]

    @hw.step
    def sneaky() -> str:
        return hidden[0].load() + hidden[0].load()

    @hw.step
    def honest(data: Version[str]) -> str:
        return data.load()

    with pytest.warns(UserWarning, match="without having used it") as caught:
        assert sneaky() == "datadata"
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert honest(version) == "data"
        assert version.load() == "data"


# -- what the orchestrator says -----------------------------------------------------
def test_a_step_stands_for_the_orchestrators_task_and_leaves_its_end_to_the_adapter(repo: Repository) -> None:
    @hw.step(log="a")
    def work(x: int) -> str:
        hw.log("extra", x)
        return "result"

    identity = RunIdentity(
        key="orchestrator:task/1", attempt=2, group="flow-1", config={"x": 1}, links={"ui": "http://o"}
    )
    with ambient.run_as(identity):
        work(1)
        hw.log("more", "after the step")
        assert hw.current_run().key == "orchestrator:task/1"
    [run] = repo.runs()
    assert (run.key, run.attempt, run.group, run.state) == ("orchestrator:task/1", 2, "flow-1", "running")
    assert (run.config, run.record.links) == ({"x": 1}, {"ui": "http://o"})
    assert sorted(e.version.artifact for e in run.logs()) == ["a", "extra", "more"]
    assert repo.run("orchestrator:task/1").id == run.id
    run.finish()


def test_inside_a_flow_steps_become_its_children(repo: Repository) -> None:
    @hw.step(log="a")
    def work() -> str:
        return "result"

    with ambient.run_as(RunIdentity(key="flow/1", group="flow-1", name="flow", container=True)):
        work()
    flow = repo.run("flow/1")
    [child] = [run for run in repo.runs() if run.id != flow.id]
    assert (child.name, child.parent, child.group, child.state) == ("work", flow.id, "flow-1", "finished")
    assert flow.state == "running"


def test_a_failing_step_in_an_orchestrators_task_publishes_nothing_half_done(repo: Repository) -> None:
    @hw.step(log=("a", "b"))
    def work() -> Any:
        return "fine", object()

    with ambient.run_as(RunIdentity(key="task/1")):
        with pytest.raises(hw.InvalidInputError):
            work()
        assert not repo.exists("a")
        assert repo.run("task/1").state == "running"
    repo.run("task/1").finish("failed")


def test_an_orchestrator_is_asked_only_if_it_is_imported(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def identify() -> RunIdentity:
        asked.append(1)
        return RunIdentity(key="lighthouse:task/1")

    adapter = types.ModuleType("lighthouse_adapter")
    adapter.identify = identify  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lighthouse_adapter", adapter)
    point = EntryPoint("lighthouse", "lighthouse_adapter:identify", ambient.GROUP)
    monkeypatch.setattr(ambient, "_points", lambda: (point,))
    monkeypatch.setattr(ambient, "_identifiers", {})  # an adapter is loaded once per process; this one differs per test
    with pytest.raises(hw.StateError):
        hw.current_run()
    assert not asked
    monkeypatch.setitem(sys.modules, "lighthouse", types.ModuleType("lighthouse"))
    assert hw.current_run().key == "lighthouse:task/1"
    with hw.start_run("mine") as mine:
        assert hw.current_run() is mine
    assert len(asked) >= 1
    hw.current_run().finish()


# -- lenient and off ----------------------------------------------------------------
@pytest.fixture
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrecorded, "_warned", set())


def pipeline() -> Any:
    @hw.step(log="a")
    def make() -> str:
        hw.current_run().summary["n"] = 1
        (hw.scratch() / "x").write_text("x")
        hw.log("extra", 1)
        return "value"

    @hw.step(log=("b", "c"))
    def read(handle: Version[str], value: str) -> tuple[str, int]:
        return handle.load() + value, 3

    made = make()
    return made, read(made, made)  # type: ignore[arg-type]


def test_off_is_a_pure_pass_through(repo: Repository) -> None:
    with hw.start_run("before"):
        hw.log("mnist", "data")
    hw.configure(tracking="off")

    @hw.step
    def injected(data: str = hw.Use("mnist")) -> str:
        return data

    made, (b, c) = pipeline()
    assert (made.load(), b.load(), c.load()) == ("value", "valuevalue", 3)
    assert injected() == "data"
    assert [run.name for run in repo.runs()] == ["before"]
    assert not repo.exists("a")


def test_lenient_warns_once_and_nothing_pretends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_warned: None
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("not a repository")
    monkeypatch.setenv("HEADWATER_URL", str(blocked))
    with pytest.raises(hw.HeadwaterError):
        pipeline()
    hw.configure(tracking="lenient")
    with pytest.warns(UserWarning, match="not recorded") as caught:
        made, (b, c) = pipeline()
    assert len(caught) == 1
    assert (made.load(), b.load(), c.load()) == ("value", "valuevalue", 3)
    for ask in ("id", "digest", "name", "aliases", "record", "version", "home"):
        with pytest.raises(hw.StateError, match="no version"):
            getattr(made, ask)
    copy = pickle.loads(pickle.dumps(made))
    assert copy.load() == "value"
    assert str(copy) == "a (not recorded)"
    assert isinstance(copy, Version)


def test_lenient_records_what_it_can(repo: Repository, nothing_warned: None) -> None:
    hw.configure(tracking="lenient")

    @hw.step(log="a")
    def make() -> Any:
        return object()

    with pytest.warns(UserWarning, match="not recorded"):
        handle = make()
    assert type(handle.load()) is object
    [run] = repo.runs()
    assert run.state == "failed"
    made, _ = pipeline()
    assert made.version == "v0"


def test_strict_fails_the_step_that_cannot_record(repo: Repository) -> None:
    @hw.step(log="a")
    def make() -> Any:
        return object()

    with pytest.raises(hw.InvalidInputError):
        make()
