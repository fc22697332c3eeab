"""Python values ↔ artifacts: what `log` accepts, and what `load` gives back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headwater.artifact import Artifact
from headwater.codecs.registry import decode, decode_in_memory, encode, reads_in_memory
from headwater.download import shared_tree
from headwater.download.memory import files_in_memory
from headwater.errors import InvalidInputError
from headwater.handle import Handle
from headwater.model.digest import Digest


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller says about the version besides its content; None keeps what the value says itself."""

    name: str | None = None
    type: str | None = None
    partition: str | None = None
    metadata: dict[str, Any] | None = None
    description: str | None = None


@contextmanager
def artifact_of(value: Any, naming: Naming, *, declared: Any = None, allow_pickle: bool = False) -> Iterator[Artifact]:
    """An artifact that holds `value`; temporary files live as long as the block.

    An `Artifact` is itself, a `Version` points at its own manifest (no bytes
    move), anything else is written by its codec.

    Raises:
        InvalidInputError: No name, or no codec for the value.
    """
    with ExitStack() as spare:

        def folder() -> Path:
            made = tempfile.TemporaryDirectory(prefix="headwater-", ignore_cleanup_errors=True)
            return Path(spare.enter_context(made))

        yield _named(_contents(value, naming, folder, declared, allow_pickle=allow_pickle), naming)


def _contents(value: Any, naming: Naming, folder: Callable[[], Path], declared: Any, *, allow_pickle: bool) -> Artifact:
    if isinstance(value, Artifact):
        return value
    if isinstance(value, Handle):
        return Artifact.from_version(value)
    if naming.name is None:
        raise InvalidInputError(what=f"a {type(value).__qualname__} needs a name to be logged under", fix="pass name=")
    encoded = encode(value, folder, declared, allow_pickle=allow_pickle)
    artifact = Artifact(naming.name, naming.type)
    if encoded.files is not None:
        for path, data in encoded.files.items():
            artifact.add_bytes(data, path)
    elif encoded.path is not None and encoded.path.is_dir():
        artifact.add_dir(encoded.path)
    elif encoded.path is not None:
        artifact.add_file(encoded.path)
    artifact.codec = encoded.codec  # last: adding files forgets it
    return artifact


def _named(artifact: Artifact, naming: Naming) -> Artifact:
    given = {
        field: value
        for field in ("name", "type", "partition", "description")
        if (value := getattr(naming, field)) is not None and value != getattr(artifact, field)
    }
    if naming.metadata is not None:
        given["metadata"] = {**artifact.metadata, **naming.metadata}
    return artifact.described(**given) if given else artifact


def load_value(version: Handle, as_: Any, *, allow_pickle: bool) -> Any:
    """The value that a version holds: from its files in memory where that will do, else from their shared tree.

    Raises:
        InvalidInputError: The codec is unknown here, cannot give `as_`, or unpickles and that was not allowed.
        StateError, FormatError: As `codecs.registry.decode`.
    """
    home, root, record = version.reading(), Digest.parse(version.digest), version.record
    if record.codec is not None and reads_in_memory(record.codec, record.stored_size, as_):
        files = files_in_memory(home, root)
        if files is not None:
            return decode_in_memory(record.codec, files, as_, allow_pickle=allow_pickle)
    return decode(record.codec, shared_tree(home, root), as_, allow_pickle=allow_pickle)
