"""Anything may happen in any order, and the process may die at any call: nothing reachable is ever lost (safety),
everything unreachable goes in the end (completeness). The model is a few dicts."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

import headwater as hw
from headwater.heartbeat import heart
from headwater.model.keys import pack_key
from headwater.model.records import Query
from headwater.upkeep import collection, orphans, retention, verify
from headwater.upkeep.collection import Collected, Terms
from headwater.upkeep.epochs import Guard, caretaker
from tests.contracts.catalog_world import Clock, ulid
from tests.faults import Fault
from tests.stateful.clocked import clocked, pack_keys, states
from tests.stateful.worlds import Crash, faulted, files_of

RUN_LEASE = 180.0
ARTIFACTS = ("a", "b", "ruled")
BLOBS = [bytes([n]) * 20 for n in range(6)] + [bytes(range(256)) * 200, b"x" * 3000]
BIG = bytes(i * i % 251 for i in range(1_200_000))

names = st.sampled_from(ARTIFACTS)
contents = st.dictionaries(st.sampled_from(["one", "two", "three"]), st.integers(0, len(BLOBS) - 1), min_size=1)
kinds = st.sampled_from(["raise", "lose"])
whens = st.integers(1, 25)
"""At which storage or catalog call one dies …"""
late_whens = st.one_of(whens, st.integers(1, 90))
"""… of something that takes many."""
jumps = st.sampled_from([60.0, 200.0, 1860.0, 3600.0 * 25, 3600.0 * 25, 86400.0 * 8, -300.0])
EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "60"))


def everything(home, terms) -> None:
    collection.collect(home, terms)


def tidy(home, _) -> None:
    collection.tidy(home, Collected())


def retire(home, _) -> None:
    retention.retire(home, retention.overdue(home))


def condemn(home, terms) -> None:
    collection.condemn(home, terms, Collected())


def compact(home, terms) -> None:
    collection.compact(home, terms, Collected())


def delete(home, terms) -> None:
    collection.delete(home, advanced(home), terms, Collected())


def sweep_orphans(home, terms) -> None:
    orphans.sweep(home, advanced(home), min_age_seconds=terms.orphan_age)


def forget(home, _) -> None:
    caretaker(home).collector.forget()


def advanced(home) -> Guard:
    guard = Guard(home)
    guard.advance()
    return guard


phases = st.sampled_from([everything, tidy, retire, condemn, compact, delete, sweep_orphans, forget])
terms = st.sampled_from([Terms(), Terms(min_age=0), Terms(min_age=0, grace=0, orphan_age=0)])
"""As everybody waits, and not at all: what protects writers is the commit alone."""


def bytes_of(files: dict[str, int], big: bool = False) -> dict[str, bytes]:
    """The steps name contents by number: that reads better than bytes."""
    small = {path: BLOBS[n] for path, n in files.items()}
    return small | ({"big": BIG + small.get("one", b"")} if big else {})


@dataclass
class Known:
    """What the model remembers of a version."""

    artifact: str
    files: dict[str, bytes]
    state: str
    drafted_by: str | None = None


@dataclass
class RunKnown:
    """What the model remembers of a run whose process is alive."""

    run: hw.Run
    used: set[str] = field(default_factory=set)


class Upkeep(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.repo = clocked(self.clock)
        self.home = self.repo.home
        self.versions: dict[str, Known] = {}
        self.runs: dict[str, RunKnown] = {}
        self.n_runs = 0

    # -- helpers ---------------------------------------------------------------
    def of(self, *in_states: str) -> list[str]:
        return sorted(i for i, known in self.versions.items() if known.state in in_states)

    def learn(self, attempted: dict[str, dict[str, bytes]]) -> None:
        """What a crash left: versions are either as before, or one that was attempted is there, whole."""
        found = {r.id: r for r in self.home.catalog.versions.versions(Query(), drafts=True, deleted=True)}
        for version_id, record in found.items():
            if version_id not in self.versions and record.state != "discarded":
                assert record.artifact in attempted, "a version out of nothing"
                self.versions[version_id] = Known(
                    record.artifact, attempted[record.artifact], record.state, record.run_id
                )

    def sync_states(self) -> None:
        """Drafts of ended runs, drafts past their time, versions that a rule let go."""
        for version_id, known in self.versions.items():
            record = self.home.catalog.versions.get(version_id)
            if record.id != version_id:  # a draft that became an equal, older version
                known.state = "discarded"
            if known.state == "published" and record.state == "deleted":
                assert known.artifact == "ruled", "only a rule deletes by itself"
            if known.state == "published":
                assert record.state in ("published", "deleted")
            known.state = record.state

    def artifact(self, name: str, files: dict[str, bytes]) -> hw.Artifact:
        made = hw.Artifact(name)
        for path, data in files.items():
            made.add_bytes(data, path)
        return made

    def crashing(self, kind: str, at: int) -> hw.Repository:
        return faulted(self.repo, Fault(kind, at=at, times=10**6, error=Crash()))[0]

    # -- what people do --------------------------------------------------------
    @initialize()
    def a_rule(self):
        retention.set_rule(self.home, "p/ruled", retention.Rule(keep_last=1, keep_younger_seconds=3600))

    @rule(name=names, files=contents, big=st.booleans(), draft=st.booleans(), data=st.data())
    def log(self, name, files, big, draft, data):
        files = bytes_of(files, big)
        run = data.draw(st.sampled_from([None, *sorted(self.runs)]))
        options = {"publish": False} if draft else {}
        made = self.artifact(name, files)
        if run is None:
            if draft:
                return
            version = self.repo.log_artifact(made)
        else:
            version = self.runs[run].run.log_artifact(made, **options)
        self.versions[version.id] = Known(name, files, "draft" if draft else "published", run)

    @rule(name=names, files=contents, kind=kinds, at=whens)
    def die_logging(self, name, files, kind, at):
        repo, files = self.crashing(kind, at), bytes_of(files)
        with contextlib.suppress(Crash):
            repo.log_artifact(self.artifact(name, files))
        self.learn({name: files})

    @rule(one=contents, other=contents, kind=kinds, at=late_whens, data=st.data())
    def die_in_a_step(self, one, other, kind, at, data):
        """Somewhere in everything that a step does: open, use, draft, publish, log, finish."""
        used = data.draw(st.sampled_from([None, *self.of("published")]))
        repo, one, other = self.crashing(kind, at), bytes_of(one), bytes_of(other)
        self.n_runs += 1
        with contextlib.suppress(Crash):
            run = repo.start_run("step", key=f"crash/{self.n_runs}", capture=())
            heart.forget_run(run.id)
            if used is not None:
                run.use_artifact(repo.version_by_id(used))
            run.log_artifact(self.artifact("a", one), publish=False).publish()
            run.log_artifact(self.artifact("b", other), aliases=["prod"])
            run.finish()
        self.learn({"a": one, "b": other})
        self.sync_states()

    @precondition(lambda self: self.of("published", "draft"))
    @rule(kind=kinds, at=whens, alias=st.sampled_from(["prod", "old"]), data=st.data())
    def die_editing(self, kind, at, alias, data):
        """In an alias, a deletion, a publication or a discard."""
        version = data.draw(st.sampled_from(self.of("published", "draft")))
        known, repo = self.versions[version], self.crashing(kind, at)
        verb = data.draw(st.sampled_from(["publish", "discard"] if known.state == "draft" else ["alias", "delete"]))
        with contextlib.suppress(Crash):
            handle = repo.version_by_id(version)
            if verb == "alias":
                repo.set_alias(f"{known.artifact}:{alias}", to=handle)
            elif verb == "delete":
                handle.delete(delete_aliases=True)
            else:
                getattr(handle, verb)()
        if verb == "delete" and self.home.catalog.versions.get(version).state == "deleted":
            known.state = "deleted"
        self.sync_states()

    @rule()
    def open_run(self):
        self.n_runs += 1
        run = self.repo.start_run("step", key=f"run/{self.n_runs}", capture=())
        heart.forget_run(run.id)  # renewed by the rule below alone
        self.runs[run.id] = RunKnown(run)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def renew(self, data):
        run = data.draw(st.sampled_from(sorted(self.runs)))
        self.home.catalog.runs.renew({run: self.home.catalog.runs.get(run).fence})

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), state=st.sampled_from(["finished", "failed", None]))
    def end_run(self, data, state):
        run = data.draw(st.sampled_from(sorted(self.runs)))
        known = self.runs.pop(run)
        if state is not None:  # None: its process is gone without a word
            known.run.finish(state)
        self.sync_states()

    @precondition(lambda self: self.runs and self.of("published"))
    @rule(data=st.data())
    def use(self, data):
        run = data.draw(st.sampled_from(sorted(self.runs)))
        version = data.draw(st.sampled_from(self.of("published")))
        self.runs[run].run.use_artifact(self.repo.version_by_id(version))
        self.runs[run].used.add(version)

    @precondition(lambda self: self.of("published"))
    @rule(data=st.data(), alias=st.sampled_from(["prod", "old"]))
    def alias(self, data, alias):
        version = data.draw(st.sampled_from(self.of("published")))
        self.repo.set_alias(f"{self.versions[version].artifact}:{alias}", to=self.repo.version_by_id(version))

    @precondition(lambda self: self.of("published"))
    @rule(data=st.data())
    def delete(self, data):
        version = data.draw(st.sampled_from(self.of("published")))
        self.repo.version_by_id(version).delete(delete_aliases=True)
        self.versions[version].state = "deleted"

    @precondition(lambda self: self.of("draft"))
    @rule(data=st.data(), publish=st.booleans())
    def end_draft(self, data, publish):
        version = data.draw(st.sampled_from(self.of("draft")))
        draft = self.repo.version_by_id(version)
        if not publish:
            draft.discard()
            self.versions[version].state = "discarded"
            return
        became = draft.publish()
        if became.id != version:
            self.versions[version].state = "discarded"
        else:
            self.versions[version].state = "published"

    @rule(seconds=jumps)
    def time_passes(self, seconds):
        self.clock.forward(seconds=seconds)
        if seconds > 1800:
            self.home.leases.close()  # as an idle process would have
        for run in list(self.runs):
            if seconds < RUN_LEASE:
                self.home.catalog.runs.renew({run: self.home.catalog.runs.get(run).fence})

    @rule()
    def the_writer_is_idle(self):
        self.home.leases.close()  # nothing is held any more: only references protect what was logged

    @rule()
    def a_stranger_leaves_an_object(self):
        self.home.objects.put(pack_key(ulid()), b"left by a late writer")

    # -- upkeep, whole and in pieces -------------------------------------------
    @rule()
    def collect(self):
        collection.collect(self.home)
        self.sync_states()

    @rule(phase=phases, terms=terms)
    def one_phase(self, phase, terms):
        phase(self.home, terms)
        self.sync_states()

    @rule(phase=phases, terms=terms, kind=kinds, at=late_whens)
    def die_in_a_phase(self, phase, terms, kind, at):
        with contextlib.suppress(Crash):
            phase(self.crashing(kind, at).home, terms)
        self.sync_states()

    # -- what must hold --------------------------------------------------------
    @invariant()
    def nothing_reachable_is_lost(self):
        report = verify(self.home)
        assert not report.findings, report.findings
        for version_id in self.of("published", "draft"):
            record = self.home.catalog.versions.get(version_id)
            known = self.versions[version_id]
            assert record.state == known.state or (known.state, record.state) == ("draft", "discarded")
        readable = self.of("published")[-4:]
        for run in self.runs.values():
            if self.home.catalog.runs.get(run.run.id).state == "running":
                readable += [v for v in sorted(run.used) if self.versions[v].state in ("published", "deleted")]
        for version_id in set(readable):
            # A run that uses it took its handle before it was deleted.
            record = replace(self.home.catalog.versions.get(version_id), state="published")
            home = faulted(self.repo, None)[0].home  # another process: nothing cached
            assert files_of(hw.Version(record, home)) == self.versions[version_id].files

    def passes(self, days: int = 1) -> None:
        for _ in range(3):
            self.clock.forward(hours=24 * days + 1)
            collection.collect(self.home)
        self.sync_states()

    def teardown(self):
        for run in self.runs.values():
            run.run.finish("failed")
        self.home.leases.close()
        self.sync_states()
        self.passes(8)
        assert {pack_key(p) for p, state in states(self.repo).items() if state != "gone"} == pack_keys(self.repo)
        assert not list(self.home.catalog.collector.condemn(min_age_seconds=0, dry_run=True)), "something stays behind"
        self.nothing_reachable_is_lost()
        for version_id in self.of("published"):
            self.repo.version_by_id(version_id).delete(delete_aliases=True)
            self.versions[version_id].state = "deleted"
        self.passes()
        assert pack_keys(self.repo) == set()
        self.repo.close()


def run_machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Upkeep,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes longer than reading the steps
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_nothing_reachable_is_lost_and_everything_else_goes():
    run_machine(8, 25)


@pytest.mark.slow
@pytest.mark.timeout(EXAMPLES * 10)
def test_nothing_reachable_is_lost_and_everything_else_goes_in_thousands_of_steps():
    run_machine(EXAMPLES, 50)
