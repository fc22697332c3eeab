"""How pydantic reads and writes a version: as text in JSON and forms, as itself in Python.

    "vision/mnist:latest", "headwater://vision/mnist:v3"    resolved in this process's repository
    {"headwater": 1, "repository": …}                       a handle, as `to_json` writes it

It is written as `headwater://project/artifact:v3`, which means one content forever.
Pydantic itself is only imported when pydantic asks.
"""

from __future__ import annotations

from typing import Any

from headwater.handle import Handle, Hooks
from headwater.lookup import find_version
from headwater.model.naming import DRAFT_PREFIX, SCHEME

TEXT_SCHEMA: dict[str, Any] = {
    "type": "string",
    "examples": [f"{SCHEME}project/artifact:v3"],
    "description": "A version: project/artifact:alias, :v3 or @digest.",
}
"""What JSON schema says of a version; a handle, which programs pass, is read too."""


def version_schema(cls: type[Handle]) -> Any:
    """The pydantic-core schema of `Version`."""
    from pydantic_core import core_schema

    def read(value: Any) -> Handle:
        value = getattr(value, "__headwater_name__", value)  # a `Use` as default
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            return cls.from_json(value)
        if isinstance(value, str):
            home = Hooks.open_home()
            return cls(find_version(home, value), home)
        raise ValueError("a version is wanted: its name, or a handle")

    serialization = core_schema.plain_serializer_function_ser_schema(exact_name, when_used="json")
    text = core_schema.str_schema()
    return core_schema.json_or_python_schema(
        json_schema=core_schema.no_info_after_validator_function(
            read, core_schema.union_schema([text, core_schema.dict_schema()])
        ),
        python_schema=core_schema.no_info_plain_validator_function(read),
        serialization=serialization,
    )


def exact_name(version: Handle) -> str:
    """Text that means this version forever, a draft's by its id."""
    if version.number is None:
        return f"{SCHEME}{version.name}:{DRAFT_PREFIX}{version.id}"
    return f"{SCHEME}{version}"
