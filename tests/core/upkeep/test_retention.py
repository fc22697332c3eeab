"""Rules say what is kept; the rest becomes a tombstone, but never what is named or in use."""

from __future__ import annotations

import pytest

import headwater as hw
from headwater.upkeep import retention
from headwater.upkeep.collection import collect, preview
from headwater.upkeep.retention import Rule, set_rule
from tests.core.upkeep.scenes import log

DAY = 86_400


def numbers(repo, name: str = "a") -> list[int]:
    return sorted(v.number for v in repo.artifact(name).versions())


def five(repo, clock, name: str = "a") -> list[hw.Version]:
    """One version a day; the last just now."""
    made = []
    for n in range(5):
        clock.forward(hours=24)
        made.append(log(repo, name, n))
    return made


def test_without_a_rule_everything_stays(repo, clock):
    five(repo, clock)
    clock.forward(hours=24 * 1000)
    assert collect(repo.home).retired == [] and numbers(repo) == [0, 1, 2, 3, 4]


def test_keep_last_keeps_the_newest_of_every_partition(repo, clock):
    five(repo, clock)
    for n in range(3):
        repo.log_artifact(hw.Artifact("a", partition="x").add_bytes(bytes([n]), "f"))
    set_rule(repo.home, "a", Rule(keep_last=2))
    told = collect(repo.home).retired
    assert {v.name for v in told} == {"p/a:v0", "p/a:v1", "p/a:v2", "p/a[x]:v0"}
    assert numbers(repo) == [3, 4]
    assert [e.kind for e in repo.version("a:v4").history()][:1] == ["version.published"]
    with pytest.raises(hw.StateError, match="deleted"):
        repo.version("a:v0")


def test_what_is_young_stays(repo, clock):
    five(repo, clock)
    set_rule(repo.home, "a", Rule(keep_last=0, keep_younger_seconds=int(2.5 * DAY)))
    collect(repo.home)
    assert numbers(repo) == [2, 3, 4]


def test_the_newest_stays_unless_keep_last_is_zero(repo, clock):
    five(repo, clock)
    clock.forward(hours=24 * 100)
    set_rule(repo.home, "a", Rule(keep_younger_seconds=DAY))
    collect(repo.home)
    assert numbers(repo) == [4]
    set_rule(repo.home, "a", Rule(keep_last=0, keep_younger_seconds=DAY))
    collect(repo.home)
    assert numbers(repo) == []


def test_what_has_an_alias_stays_and_what_has_a_tag_if_the_rule_says_so(repo, clock):
    made = five(repo, clock)
    repo.set_alias("a:prod", to="v0")
    made[1].tags = ["gold"]
    made[1].save()
    set_rule(repo.home, "a", Rule(keep_tagged=True))
    collect(repo.home)
    assert numbers(repo) == [0, 1, 4]
    set_rule(repo.home, "a", Rule())
    collect(repo.home)
    assert numbers(repo) == [0, 4]


def test_an_alias_keeps_nothing_if_the_rule_says_so_and_goes_along(repo, clock):
    five(repo, clock)
    repo.set_alias("a:prod", to="v0")
    repo.set_alias("a:best", to="v3")
    set_rule(repo.home, "a", Rule(keep_last=2, keep_aliased=False))
    assert {v.name: v.aliases for v in preview(repo.home).retired} == {"p/a:v0": ("prod",), "p/a:v1": (), "p/a:v2": ()}
    due = retention.overdue(repo.home)
    repo.set_alias("a:new", to="v1")  # somebody names it after it was decided
    assert {v.name for v in retention.retire(repo.home, due)} == {"p/a:v0", "p/a:v2"}
    assert numbers(repo) == [1, 3, 4]
    with pytest.raises(hw.NotFoundError):
        repo.version("a:prod")
    assert repo.version("a:best").number == 3
    gone = [e.kind for e in repo.artifact("a").history() if e.details.get("alias") == "prod"]
    assert gone[-1] == "alias.removed", "the history says where the alias went"


def test_what_something_kept_was_made_from_stays_at_any_distance(repo, clock):
    five(repo, clock)
    for name, source in (("b", "a:v0"), ("c", "b:latest")):
        with repo.start_run(name, capture=()) as run:
            run.use_artifact(source)
            run.log_artifact(hw.Artifact(name).add_bytes(name.encode(), "f"))
    for name in ("a", "b"):
        set_rule(repo.home, name, Rule(keep_last=0, keep_younger_seconds=0, keep_upstream=True))
    collect(repo.home)
    assert (numbers(repo, "a"), numbers(repo, "b")) == ([0], [0])
    repo.version("c:latest").delete()
    collect(repo.home)
    assert (numbers(repo, "a"), numbers(repo, "b")) == ([], [])


def test_what_a_running_run_uses_is_never_taken(repo, clock):
    five(repo, clock)
    set_rule(repo.home, "a", Rule())
    with repo.start_run("train", capture=()) as run:
        used = run.use_artifact("a:v1")
        due = retention.overdue(repo.home)
        collect(repo.home)
        assert numbers(repo) == [1, 4]
        assert "v1" not in {v.name.partition(":")[2] for v in due}
        assert repo.home.catalog.repairs.retire(used.id, actor="x", why="y") is False, "not even decided earlier"
    collect(repo.home)
    assert numbers(repo) == [4]


def test_a_dry_run_names_each_version_and_why(repo, clock):
    five(repo, clock)
    set_rule(repo.home, "p/a", Rule(keep_last=3))
    told = preview(repo.home).retired
    assert [(v.name, v.size) for v in told] == [("p/a:v1", 20480), ("p/a:v0", 20480)]
    assert "newest 3" in told[0].why and numbers(repo) == [0, 1, 2, 3, 4]


def test_rules_are_kept_shown_and_taken_away(repo):
    assert retention.rules(repo.home) == {}
    set_rule(repo.home, "a", Rule(keep_last=3, keep_tagged=True))
    assert retention.rules(repo.home) == {"p/a": Rule(keep_last=3, keep_tagged=True)}
    assert retention.drop_rule(repo.home, "a") and not retention.drop_rule(repo.home, "a")
    for wrong in ("a:v3", "a[x]", "a:prod"):
        with pytest.raises(hw.InvalidInputError):
            set_rule(repo.home, wrong, Rule())
    with pytest.raises(hw.InvalidInputError):
        set_rule(repo.home, "a", Rule(keep_last=-1))


def test_a_retired_version_says_in_the_history_who_and_why(repo, clock):
    five(repo, clock)
    set_rule(repo.home, "a", Rule(keep_last=4))
    collect(repo.home)
    (line,) = [e for e in repo.artifact("a").history() if e.kind == "version.deleted"]
    assert line.actor == "tester@here" and "newest 4" in line.details["why"]
