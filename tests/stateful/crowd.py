"""Writers, readers and collectors as processes of their own, and a ledger of what they were told was done.

Processes are forked, for there are hundreds; each opens the repository anew. The
ledger is a file: a line is written with one `write`, so that a killed process
leaves whole lines. What a deletion might have taken is written down before it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import headwater as hw
from headwater.catalog.sql import open_catalog
from headwater.connect import _assemble, open_store
from headwater.errors import ConflictError, HeadwaterError, NotFoundError, StateError
from headwater.upkeep.collection import Terms, collect

POOL = 60
HOUR = 3_600_000_000


def blob(n: int) -> bytes:
    """One of a few contents that everybody shares: from 1 to 30 KiB; two in sixty are cut into chunks."""
    dice = random.Random(n)
    return dice.randbytes(1_100_000 + n if n in (3, 4) else dice.randrange(1_000, 30_000))


class Ledger:
    """Lines of JSON in a file that many processes append to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **line: object) -> None:
        """Append one line."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, json.dumps(line).encode() + b"\n")
        os.close(fd)

    def read(self) -> list[dict]:
        """Every whole line so far."""
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        return [json.loads(line) for line in lines if line]

    def count(self, kind: str) -> int:
        """How many lines of a kind there are."""
        return self.path.read_bytes().count(b'"kind": "%b"' % kind.encode()) if self.path.exists() else 0

    def standing(self) -> dict[str, list[int]]:
        """Version id → contents, of those that were logged and never about to be deleted."""
        lines = self.read()
        gone = {line["id"] for line in lines if line["kind"] == "delete"}
        return {line["id"]: line["blobs"] for line in lines if line["kind"] == "logged" and line["id"] not in gone}


def log_one(repo: hw.Repository, ledger: Ledger, dice: random.Random) -> None:
    """Log a few shared contents as a version of one of four artifacts; sometimes delete one of one's own."""
    blobs = sorted(dice.sample(range(POOL), dice.randint(1, 6)))
    made = hw.Artifact(f"a{dice.randrange(4)}")
    for n in blobs:
        made.add_bytes(blob(n), f"{n}.bin")
    try:
        version = repo.log_artifact(made)
    except ConflictError as error:
        ledger.write(kind="conflict", what=str(error))  # collected again and again: told, nothing lost
        return
    ledger.write(kind="logged", id=version.id, blobs=blobs)
    if dice.random() < 0.5:
        candidates = [v for v in repo.versions(made.name) if dice.random() < 0.2]
        for victim in candidates[:3]:
            ledger.write(kind="delete", id=victim.id)
            victim.delete()


def read_one(repo: hw.Repository, ledger: Ledger, dice: random.Random) -> None:
    """Read a version that stood when we looked; if it is not whole now, it must have been deleted meanwhile."""
    known = ledger.standing()
    if not known:
        time.sleep(0.05)
        return
    version_id = dice.choice(sorted(known))
    try:
        version = repo.version_by_id(version_id)
        found = {e.path: version.open(e.path).read() for e in version.entries()}
        assert found == {f"{n}.bin": blob(n) for n in known[version_id]}
        ledger.write(kind="read")
    except (StateError, HeadwaterError) as error:
        if version_id in ledger.standing():
            raise
        ledger.write(kind="late", what=type(error).__name__)


def collect_one(repo: hw.Repository, ledger: Ledger, dice: random.Random) -> None:
    """A pass that waits for nothing: what protects writers is the commit alone."""
    try:
        done = collect(repo.home, Terms(min_age=0, grace=0, orphan_age=0))
        ledger.write(kind="collected", packs=done.deleted.packs, compacted=done.compacted.packs)
    except (ConflictError, StateError) as error:  # another collector raised the epoch meanwhile
        ledger.write(kind="stopped", what=str(error))


def ahead(url: str, hours: float) -> hw.Repository:
    """The repository on a clock that is so far ahead: every lease has lapsed, every age has passed."""
    usual = hw.connect(url, project="p")
    database = usual.home.catalog.database._url.render_as_string(hide_password=False)
    objects = open_store(usual.home.objects.url)
    usual.close()
    catalog = open_catalog(database, clock=lambda: time.time_ns() // 1000 + int(hours * HOUR))
    return _assemble(url, catalog, objects, "p", usual.home.folder)


def fork(body: Callable[[], None]) -> int:
    """Run `body` in a child; its process id. The child exits 0, or 1 with a traceback."""
    pid = os.fork()
    if pid:
        return pid
    try:
        body()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def forever(url: str, ledger: Ledger, act: Callable, seed: int, until: float = float("inf")) -> Callable[[], None]:
    """What a child does: `act` again and again; a collector's clock is an hour ahead, so that no lease holds it."""

    def body() -> None:
        dice = random.Random(seed)
        with ahead(url, 1) if act is collect_one else hw.connect(url, project="p") as repo:
            while time.time() < until:
                act(repo, ledger, dice)

    return body


def kill(pid: int) -> None:
    """`kill -9`, and wait for the end, which nothing else may have brought."""
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, "it had failed by itself"


def check_everything(url: str, ledger: Ledger) -> dict[str, int]:
    """Every version that was acknowledged and not deleted reads as it was logged; how many of each kind of line."""
    from collections import Counter

    with hw.connect(url, project="p") as repo:
        for version_id, blobs in ledger.standing().items():
            version = repo.version_by_id(version_id)
            assert {e.path: version.open(e.path).read() for e in version.entries()} == {
                f"{n}.bin": blob(n) for n in blobs
            }
        for name in range(4):
            try:
                numbers = [v.number for v in repo.artifact(f"a{name}").versions()]
            except NotFoundError:
                continue
            assert len(set(numbers)) == len(numbers)
    return dict(Counter(line["kind"] for line in ledger.read()))
