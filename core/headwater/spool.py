"""What could not be logged is kept: in a small repository on this machine, from where `headwater push` sends it.

Training for ten hours and losing the model because the bucket was away for ten minutes
is the worst a tracker can do. So when a team's repository stays out of reach after all
retries, the artifact is logged into the spool, and the error says so. The version has the
id it will keep; its run is known there by its id, so the edge is drawn when it arrives.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headwater.errors import HeadwaterError
from headwater.model.records import RunOpening
from headwater.model.values import mask_text
from headwater.publishing import Options, publish

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.home import Home
    from headwater.repository import Repository

SPOOL = "spool"


def keep(
    open_folder: Callable[[Path], Repository], home: Home, artifact: Artifact, options: Options, error: HeadwaterError
) -> HeadwaterError:
    """Log `artifact` into the spool of `home`; the error to raise, which names the command that sends it.

    A repository in a folder or in memory has no spool: what made it fail would make the spool fail. If the
    spool fails too, the error is the first one.
    """
    embedded = home.cache is None and not home.url.startswith("postgres")
    if embedded or "spool" in error.facts:
        return error
    folder = home.folder / SPOOL
    try:
        with open_folder(folder) as repository:
            spool = replace(repository.home, actor=home.actor, project=home.project)
            _open_run(spool, options)
            kept = msgspec.structs.replace(options, fence=0, finish=None, draft=False, derived_from=None, run=None)
            made, _ = publish(spool, artifact, kept)
    except (HeadwaterError, OSError):
        return error
    command = f"headwater push --url {shlex.quote(str(folder))} {_target(home)}"
    facts = {**error.facts, "fix": f"the content is kept here; when the repository is back: {command}"}
    return type(error)(**facts, spool=str(folder), version_id=made.version.id, command=command)


def _open_run(spool: Home, options: Options) -> None:
    """The same run, as the spool needs it: with its id, and no more than it knows."""
    run = options.run
    if run is None:
        return
    spool.catalog.runs.open(
        RunOpening(
            id=run.id,
            key=run.key,
            attempt=run.attempt,
            project=run.project,
            name=run.name,
            group=run.group,
            parent=run.parent,
            config=run.config,
            links=run.links,
            code=run.code,
            actor=run.actor,
            host=run.host,
            pid=run.pid,
            resume=True,
        )
    )


def _target(home: Home) -> str:
    told = os.environ.get("HEADWATER_URL")
    return '"$HEADWATER_URL"' if told and mask_text(told) == home.url else shlex.quote(home.url)
