"""From an artifact to a version: bytes first, then the manifest, then one catalog transaction.

A crash before that transaction leaves orphan packs for upkeep and nothing else;
a crash after it leaves a whole version. If collection took a pack between the
look-up and the commit, the catalog names it, and just those bytes are sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from headwater.errors import AccessError, ConflictError, InvalidInputError, StateError, StorageError
from headwater.handle import Hooks
from headwater.lookup import find_version
from headwater.model.naming import LATEST, Name, check_alias, check_part, check_partition, parse_name, several
from headwater.model.records import Publication, Published, RunRecord, RunState
from headwater.model.values import mask, to_object
from headwater.store.ulids import new_ulid
from headwater.upload import Uploaded, upload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.artifact import Artifact
    from headwater.home import Home
    from headwater.ports import Progress

Commit: TypeAlias = Callable[[Publication], Published]

ATTEMPTS = 5
"""How often bytes are sent again because collection took them; each needs a collector at the very wrong moment."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an artifact is logged; every field has the meaning of the same word in `Run.log_artifact`."""

    project: str | None = None
    """Where a name without a project belongs; None: the repository's current one."""
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    role: str | None = None
    run_id: str | None = None
    fence: int = 0
    run: RunRecord | None = None
    """The run as it is known here, for when the catalog cannot be asked."""
    derived_from: tuple[str, ...] | None = None
    draft: bool = False
    draft_ttl_seconds: int = 86_400
    finish: RunState | None = None


def publish(
    home: Home, artifact: Artifact, options: Options, progress: Progress | None = None, *, commit: Commit | None = None
) -> tuple[Published, Uploaded]:
    """Make `artifact` a version (or draft), or find the equal one that is there. Atomic, idempotent, resumable.

    When a team's repository stays out of reach, the content is kept in this machine's spool; the error then has
    the facts `spool` (where) and `version_id`, and names the command that sends it.

    Args:
        home: Where.
        artifact: What.
        options: How.
        progress: Told stage, bytes done, bytes in all.
        commit: The transaction at the end; by default that of a version of its own.

    Raises:
        InvalidInputError: A name, alias, tag or fact that cannot be; a type other than the artifact's.
        StateError: The run has ended or was taken over.
        IntegrityError, StorageError, AccessError: The bytes could not be read or stored.
    """
    try:
        return _publish(home, artifact, options, progress, commit)
    except (StorageError, AccessError) as error:
        if commit is not None or Hooks.keep is None:
            raise
        raise Hooks.keep(home, artifact, options, error) from error


def _publish(
    home: Home, artifact: Artifact, options: Options, progress: Progress | None, commit: Commit | None
) -> tuple[Published, Uploaded]:
    draft = _publication(home, artifact, options)
    end = commit or home.catalog.versions.commit
    for attempt in range(ATTEMPTS):
        with home.leases.borrow() as lease:
            try:
                uploaded = upload(artifact, home, lease, progress=progress)
                return end(_filled(draft, uploaded, lease)), uploaded
            except ConflictError as error:
                if "lost_packs" not in error.facts or attempt == ATTEMPTS - 1:
                    raise
            except StateError as error:
                if error.facts.get("lapsed_lease") != lease or attempt == ATTEMPTS - 1:
                    raise
                home.leases.lapsed(lease)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _publication(home: Home, artifact: Artifact, options: Options) -> Publication:
    name = artifact_name(artifact, options.project or home.project)
    return Publication(
        version_id=new_ulid(),
        project=str(name.project),
        artifact=name.artifact,
        partition=name.partition,
        type=artifact.type,
        root=b"",
        root_packs=frozenset(),
        pages=(),
        lease="",
        n_entries=0,
        stored_size=0,
        referenced_size=None,
        codec=artifact.codec,
        metadata=mask(to_object(artifact.metadata, f"metadata of {name.bare}")),
        description=str(artifact.description or ""),
        aliases=tuple(sorted({check_alias(a) for a in options.aliases if a != LATEST})),
        tags=tuple(sorted({check_part(t, "tag") for t in options.tags})),
        run_id=options.run_id,
        fence=options.fence,
        role=options.role,
        derived_from=options.derived_from,
        draft=options.draft,
        draft_ttl_seconds=options.draft_ttl_seconds,
        finish=options.finish,
        actor=home.actor,
    )


def _filled(publication: Publication, uploaded: Uploaded, lease: str) -> Publication:
    return msgspec.structs.replace(
        publication,
        root=bytes(uploaded.root),
        root_packs=uploaded.root_packs,
        pages=uploaded.pages,
        chunk_lists=uploaded.chunk_lists,
        seals=uploaded.seals,
        lease=lease,
        n_entries=uploaded.n_entries,
        stored_size=uploaded.stored_size,
        referenced_size=uploaded.referenced_size,
    )


def artifact_name(artifact: Artifact, project: str) -> Name:
    """The full name of the artifact that the next version of `artifact` belongs to."""
    name = parse_name(artifact.name).within(project)
    if artifact.partition and name.partition not in ("", artifact.partition):
        raise InvalidInputError(what=f"{name.bare} names another partition than partition={artifact.partition!r}")
    if artifact.partition:
        name = msgspec.structs.replace(name, partition=check_partition(artifact.partition))
    return name


def version_ids(
    home: Home, versions: Sequence[Any] | None, project: str | None = None, group: str | None = None
) -> tuple[str, ...] | None:
    """The ids of the versions, or names of some, given as `derived_from`; None stays None.

    Raises:
        InvalidInputError, ArtifactNotFoundError, VersionNotFoundError, StateError: As `find_version`.
    """
    if versions is None:
        return None
    return tuple(
        find_version(home, given, project=project, group=group).id if isinstance(given, str) else given.id
        for given in several(versions, "derived_from")
    )
