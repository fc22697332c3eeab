"""Versions that several writers make together, whose writers never come: they go, but not under somebody's hands."""

from __future__ import annotations

import pytest

import headwater as hw
from headwater.heartbeat import heart
from headwater.upkeep import verify
from headwater.upkeep.collection import collect
from tests.core.upkeep.scenes import idle, noise
from tests.stateful.clocked import pack_keys
from tests.stateful.worlds import files_of


def writer(repo, name: str) -> hw.Run:
    """A run of the group, renewed by `renew` alone."""
    run = repo.start_run(name, group="g", key=name, capture=())
    heart.forget_run(run.id)
    return run


def renew(repo, run: hw.Run) -> None:
    repo.home.catalog.runs.renew({run.id: repo.home.catalog.runs.get(run.id).fence})


def hand_in(repo, run: hw.Run, seed: int) -> hw.Version:
    with run.join_artifact("whole", expect_writers=3) as part:
        part.add_bytes(noise(seed), f"{seed}")
    return part.version


def passes(repo, clock, n: int) -> int:
    """So many daily passes; drafts discarded."""
    gone = 0
    for _ in range(n):
        idle(repo, clock, 25)
        gone += collect(repo.home).discarded_drafts
    return gone


def test_a_joint_draft_whose_writers_never_come_is_swept_with_its_parts_and_their_bytes(repo, clock):
    for seed in (1, 2):
        with writer(repo, f"w{seed}") as run:
            draft = hand_in(repo, run, seed)
    assert draft.state == "draft" and pack_keys(repo)
    clock.forward(hours=23)
    assert collect(repo.home).discarded_drafts == 0, "a day is a day"
    assert passes(repo, clock, 3) == 3, "the whole and two parts"
    assert draft.reload().state == "discarded" and pack_keys(repo) == set()
    assert not verify(repo.home).findings


def test_while_a_writer_of_the_group_is_at_work_what_the_others_handed_in_stays(repo, clock):
    slow = writer(repo, "slow")
    part = slow.join_artifact("whole", expect_writers=3)
    for seed in (1, 2):
        with writer(repo, f"w{seed}") as run:
            hand_in(repo, run, seed)
    idle(repo, clock, 48)
    renew(repo, slow)  # as its heartbeat has all the time
    assert collect(repo.home).discarded_drafts == 0
    part.add_bytes(noise(3), "3")
    assert part.finish().number == 0
    slow.finish()
    assert files_of(repo.version("whole")) == {str(n): noise(n) for n in (1, 2, 3)}


@pytest.mark.parametrize("end", ["dies", "fails"])
def test_when_the_last_writer_is_gone_too_the_others_parts_go_in_the_end_and_the_group_may_begin_anew(repo, clock, end):
    late = writer(repo, "late")
    late.join_artifact("whole", expect_writers=3)
    with writer(repo, "w1") as run:
        before = hand_in(repo, run, 1)
    if end == "fails":
        late.finish("failed")
    assert passes(repo, clock, 2) == 2
    for seed in (1, 2, 3):
        with writer(repo, f"again{seed}") as run:
            made = hand_in(repo, run, seed)
    assert made.number == 0 and made.id != before.id
    passes(repo, clock, 2)
    assert files_of(repo.version("whole")) == {str(n): noise(n) for n in (1, 2, 3)} and not verify(repo.home).findings
