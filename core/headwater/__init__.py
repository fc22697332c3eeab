"""Headwater: the memory of data and ML pipelines. The public names, nothing else."""

from typing import TYPE_CHECKING

from headwater.lazy import lend

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.artifactinfo import ArtifactInfo
    from headwater.connect import connect, start_run
    from headwater.errors import (
        AccessError,
        ArtifactNotFoundError,
        ConflictError,
        CredentialsError,
        DigestMismatchError,
        EntryNotFoundError,
        FormatError,
        HeadwaterError,
        IntegrityError,
        InvalidInputError,
        MissingBlobError,
        NotFoundError,
        PurgedError,
        ReferenceChangedError,
        ReferenceMissingError,
        RunNotFoundError,
        SourceChangedError,
        StateError,
        StorageError,
        VersionNotFoundError,
    )
    from headwater.lookup import pinned
    from headwater.model.graph import Graph
    from headwater.model.naming import name
    from headwater.repository import Repository
    from headwater.run import Run
    from headwater.settings import configure
    from headwater.steps.ambient import run_as
    from headwater.steps.declared import Log, Use
    from headwater.steps.decorator import step
    from headwater.steps.identity import RunIdentity
    from headwater.steps.verbs import current_run, log, scratch, use
    from headwater.version import RunInfo, Version

__all__ = [
    "AccessError",
    "Artifact",
    "ArtifactInfo",
    "ArtifactNotFoundError",
    "ConflictError",
    "CredentialsError",
    "DigestMismatchError",
    "EntryNotFoundError",
    "FormatError",
    "Graph",
    "HeadwaterError",
    "IntegrityError",
    "InvalidInputError",
    "Log",
    "MissingBlobError",
    "NotFoundError",
    "ReferenceChangedError",
    "PurgedError",
    "ReferenceMissingError",
    "Repository",
    "Run",
    "RunIdentity",
    "RunInfo",
    "RunNotFoundError",
    "SourceChangedError",
    "StateError",
    "StorageError",
    "Use",
    "Version",
    "VersionNotFoundError",
    "configure",
    "connect",
    "current_run",
    "log",
    "name",
    "pinned",
    "run_as",
    "scratch",
    "start_run",
    "step",
    "use",
]

if not TYPE_CHECKING:
    __getattr__ = lend(__name__, {
        "artifact": "Artifact",
        "artifactinfo": "ArtifactInfo",
        "connect": "connect start_run",
        "errors":
            "AccessError ArtifactNotFoundError ConflictError CredentialsError DigestMismatchError "
            "EntryNotFoundError FormatError HeadwaterError IntegrityError InvalidInputError MissingBlobError "
            "NotFoundError PurgedError ReferenceChangedError ReferenceMissingError RunNotFoundError "
            "SourceChangedError StateError StorageError VersionNotFoundError",
        "lookup": "pinned",
        "model.graph": "Graph",
        "model.naming": "name",
        "repository": "Repository",
        "run": "Run",
        "settings": "configure",
        "steps.ambient": "run_as",
        "steps.declared": "Log Use",
        "steps.decorator": "step",
        "steps.identity": "RunIdentity",
        "steps.verbs": "current_run log scratch use",
        "version": "RunInfo Version",
    })  # fmt: skip
