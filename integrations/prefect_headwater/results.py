"""`HeadwaterSerializer`: task results that are handles are kept as readable JSON pointers, not as pickles."""

from __future__ import annotations

import json
from typing import Any

from prefect.serializers import PickleSerializer, Serializer
from pydantic import Field

from headwater import Version

_MARK = "__headwater__"


class HeadwaterSerializer(Serializer):  # bare: a parametrised one would register as another
    """Handles, alone or in lists, tuples and dicts of plain values, as JSON; anything else as Prefect pickles it.

    Pass an instance (`result_serializer=HeadwaterSerializer()`): its name is known to Prefect only once this
    module is imported.
    """

    type: str = Field(default="headwater", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """UTF-8 text: what Prefect writes into a result record."""
        try:
            return json.dumps({_MARK: _encode(obj)}, separators=(",", ":")).encode()
        except TypeError:
            return PickleSerializer().dumps(obj)

    def loads(self, blob: bytes) -> Any:
        """The same value; handles open with this process's repository."""
        if not blob.startswith(b"{"):
            return PickleSerializer().loads(blob)
        return _decode(json.loads(blob)[_MARK])


def _encode(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_encode(item) for item in value]
    if type(value) is tuple:
        return {_MARK: "tuple", "items": [_encode(item) for item in value]}
    if type(value) is dict and _MARK not in value and all(type(key) is str for key in value):
        return {key: _encode(item) for key, item in value.items()}
    if type(value) is Version:
        return {_MARK: "version", "handle": value.to_json()}
    raise TypeError(f"a {type(value).__qualname__} has no JSON form")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get(_MARK) == "tuple":
        return tuple(_decode(item) for item in value["items"])
    if value.get(_MARK) == "version":
        return Version[Any].from_json(value["handle"])
    return {key: _decode(item) for key, item in value.items()}
