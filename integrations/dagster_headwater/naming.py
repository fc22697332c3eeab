"""What assets, partitions and outputs are called in Headwater, and the words users write to say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

import headwater as hw
from headwater.adapter import quote_partition

PREFIX = "headwater/"
PIN_TAG = "headwater/pins"
"""Run tag, JSON of name → version: what a run that a version started reads of that name."""
WORDS = ("artifact", "type", "aliases", "tags", "alias", "version", "description", "metadata", "always",
         "always_dict", "allow_missing_partitions", "allow_pickle")  # fmt: skip
"""Every key of `headwater_metadata`, in metadata as `headwater/<key>`."""


class HeadwaterInputConfig(dg.Config):
    """What the run config may say of an input that has an `input_manager_key`: which version to load."""

    version: str | None = Field(default=None, description="A version: v3, or blake3:…")
    alias: str | None = Field(default=None, description="An alias, e.g. prod")
    artifact: str | None = Field(default=None, description="Another artifact than the asset's")
    always: bool = Field(default=False, description="Also when the run itself makes the upstream asset")


class HeadwaterOutputConfig(dg.Config):
    """What the run config may say of an output: `ops: {model: {outputs: {result: {aliases: [candidate]}}}}`."""

    aliases: list[str] = Field(default_factory=list, description="Moved to the version that is logged")
    tags: list[str] = Field(default_factory=list, description="Put on the version that is logged")
    description: str | None = Field(default=None, description="Of the version that is logged")


class PartitionedOutput(dict[str, Any]):
    """What a run over several partitions returns: partition key → value; one version is logged for each."""


def headwater_metadata(**words: Any) -> dict[str, Any]:
    """Metadata for `@asset`, `Out`, `AssetIn` and `In`; flat, so that Dagster shows it.

    Args:
        **words: Of outputs: `artifact` (name, also `project/name`), `type`, `aliases`, `tags`, `description`,
            `metadata`, `allow_pickle`. Of inputs: `artifact`, `alias`, `version`, `always` (also when this run makes
            the upstream asset), `always_dict`, `allow_missing_partitions`, `allow_pickle`.

    Raises:
        InvalidInputError: A word it does not know.
    """
    unknown = sorted(words.keys() - set(WORDS))
    if unknown:
        raise hw.InvalidInputError(
            what=f"headwater_metadata() knows no {unknown[0]!r}", fix=f"its words are {', '.join(WORDS)}"
        )
    return {PREFIX + word: list(value) if isinstance(value, tuple) else value for word, value in words.items()}


def word(metadata: Mapping[str, Any] | None, name: str) -> Any:
    """What metadata says, whether as `headwater/<name>` or (as other IO managers spell some) bare."""
    found = (metadata or {}).get(PREFIX + name)
    if found is None and name == "allow_missing_partitions":
        found = (metadata or {}).get(name)
    return getattr(found, "value", found)  # asset specs hold MetadataValues


def words(metadata: Mapping[str, Any] | None, name: str) -> list[str]:
    """The same for a list of texts; one text is a list of one."""
    found = word(metadata, name) or ()
    return [found] if isinstance(found, str) else [str(item) for item in found]


def asset_artifact(key: dg.AssetKey, metadata: Mapping[str, Any] | None = None) -> str:
    """The artifact of an asset: what its metadata says, else its key, component by component and injectively."""
    return str(word(metadata, "artifact") or hw.name(*key.path))


def op_artifact(job: str, step_key: str, output: str, mapping: str | None, metadata: Mapping[str, Any] | None) -> str:
    """The artifact of an op's output that is no asset; mapped steps have one each unless metadata names it."""
    named = word(metadata, "artifact")
    parts: Sequence[str] = ["ops", job, step_key, output, *([mapping] if mapping else [])]
    return str(named) if named else hw.name(*parts)


def role_of(output: str, mapping: str | None) -> str:
    """What a version is to the run that logged it: the output's name, with the key of a dynamic one."""
    return output if mapping is None else f"{output}[{mapping}]"


def with_partition(artifact: str, partition: str | None, selector: str = "") -> str:
    """`project/artifact[partition]selector` as a name that `use` takes."""
    return artifact + (f"[{quote_partition(partition)}]" if partition is not None else "") + selector


def selector_of(version: str | None, alias: str | None) -> str:
    """`:v3`, `:prod` or `@blake3:…`."""
    wanted = version or alias or "latest"
    return f"@{wanted}" if wanted.startswith("blake3:") else f":{wanted}"
