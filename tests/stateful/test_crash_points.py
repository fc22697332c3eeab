"""A crash, an error or a lost answer at every single storage and catalog call of a log loses nothing.

Each call is tried in turn: the fault strikes before it acts, or after it acted and
before the answer arrived. Then another process looks: what was published is whole,
nothing half done is visible, and logging again gives the version once.
"""

from __future__ import annotations

import contextlib

import pytest

import headwater as hw
from headwater.errors import StorageError
from tests.faults import Fault
from tests.stateful.worlds import Crash, assert_promises, faulted, files_of

OLD = {"keep.txt": b"keep" * 100, "big.bin": bytes(range(256)) * 8192}
NEW = {"keep.txt": b"keep" * 100, "big.bin": bytes(range(256)) * 8192 + b"tail", "new.txt": b"new"}


def artifact(files: dict[str, bytes]) -> hw.Artifact:
    made = hw.Artifact("data")
    for path, data in files.items():
        made.add_bytes(data, path)
    return made


def whole_step(repo) -> None:
    """Everything a step does: open, use, log, finish."""
    with repo.start_run("step", key="step") as run:
        run.use_artifact("data:v0")
        run.log_artifact(artifact(NEW), aliases=["prod"])
        run.summary["ok"] = True


def count_calls() -> int:
    repo = hw.connect("memory://", project="p")
    repo.log_artifact(artifact(OLD))
    watched, _, catalog = faulted(repo, None)
    whole_step(watched)
    return len(catalog.calls)


CALLS = count_calls()


@pytest.mark.parametrize("at", range(1, CALLS + 2))
@pytest.mark.parametrize("kind", ["raise", "lose"])
def test_a_crash_at_any_call_leaves_whole_versions_and_logging_again_resumes(kind, at):
    repo = hw.connect("memory://", project="p")
    repo.log_artifact(artifact(OLD))
    crashing, _, _ = faulted(repo, Fault(kind, at=at, times=10**6, error=Crash()))
    with contextlib.suppress(Crash):
        whole_step(crashing)
    made = [v.number for v in repo.artifact("data").versions()]
    assert made in ([0], [1, 0])
    assert_promises(repo, {"data": {0: OLD} | ({1: NEW} if made == [1, 0] else {})})
    whole_step(repo)  # the next attempt, by another process
    assert_promises(repo, {"data": {0: OLD, 1: NEW}})
    assert repo.version("data:prod").number == 1
    states = [r.state for r in repo.run("step").attempts()]
    assert states[-1] == "finished"
    assert set(states) <= {"finished", "lost", "failed"}, "no attempt is left running"


@pytest.mark.parametrize("at", range(1, CALLS + 2))
@pytest.mark.parametrize("kind", ["raise", "lose"])
def test_one_failing_call_either_is_overcome_or_reaches_the_user_as_an_error_of_ours(kind, at):
    repo = hw.connect("memory://", project="p")
    repo.log_artifact(artifact(OLD))
    failing, _, _ = faulted(repo, Fault(kind, at=at))
    with contextlib.suppress(StorageError, hw.StateError):
        whole_step(failing)
    made = [v.number for v in repo.artifact("data").versions()]
    assert made in ([0], [1, 0])
    assert_promises(repo, {"data": {0: OLD} | ({1: NEW} if made == [1, 0] else {})})


@pytest.mark.parametrize("kind", ["truncate", "flip"])
def test_bytes_damaged_on_their_way_are_never_read_as_good(kind):
    repo = hw.connect("memory://", project="p")
    damaging, _, _ = faulted(repo, Fault(kind, on="put"))
    version = damaging.log_artifact(artifact(OLD))
    with pytest.raises(hw.IntegrityError):
        files_of(repo.version_by_id(version.id))
    from headwater.upkeep import verify

    assert verify(repo.home).findings


def test_what_was_sent_before_the_crash_is_not_sent_again():
    repo = hw.connect("memory://", project="p")
    files = {f"{i}.bin": bytes([i % 251, i // 251]) * 250_000 for i in range(100)}  # two packs and more
    crashing, _, _ = faulted(repo, Fault("raise", on="versions.commit", error=Crash()))
    with pytest.raises(Crash):
        crashing.log_artifact(artifact(files))
    before = repo.home.catalog.packs.packs("live")
    sealed = sum(size for *_, size in before)
    watching, objects, _ = faulted(repo, None)
    watching.log_artifact(artifact(files))
    sent = sum(len(args[1]) for name, args in objects.calls if name == "put")
    total = sum(size for *_, size in repo.home.catalog.packs.packs("live"))
    assert sent <= total - sealed
    assert_promises(repo, {"data": {0: files}})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["raise", "lose"])
@pytest.mark.parametrize("at", range(1, CALLS + 2, 4))
def test_a_crash_with_postgresql_and_a_bucket_leaves_whole_versions_and_logging_again_resumes(kind, at, team_repo):
    team_repo.log_artifact(artifact(OLD))
    crashing, _, _ = faulted(team_repo, Fault(kind, at=at, times=10**6, error=Crash()))
    with contextlib.suppress(Crash):
        whole_step(crashing)
    made = [v.number for v in team_repo.artifact("data").versions()]
    assert made in ([0], [1, 0])
    whole_step(team_repo)
    assert_promises(team_repo, {"data": {0: OLD, 1: NEW}})
