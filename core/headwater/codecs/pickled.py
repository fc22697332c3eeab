"""Any Python object, by pickle, and only for those who ask: on write and again on read.

Reading a pickle runs code chosen by whoever wrote it. The permission is the
reader's argument; nothing recorded in a version can grant it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from headwater.codecs.annotations import candidates
from headwater.codecs.files import Files, Small, as_data, cannot_load, only
from headwater.errors import InvalidInputError

PROTOCOL = 5
"""Fixed, so that a newer Python does not change the bytes. Equal bytes for equal values are still not promised."""


class PickleCodec(Small):
    """Whatever pickle takes, in `value.pickle`.

    Args:
        allowed: Whether the caller asked for pickle; without it nothing is written or unpickled.
    """

    name = "pickle"
    file = "value.pickle"

    def __init__(self, *, allowed: bool = False) -> None:
        self._allowed = allowed

    def handles(self, value_type: Any) -> bool:
        return self._allowed

    def encode(self, value: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The file and options, in memory.

        Raises:
            InvalidInputError: Pickle was not asked for, or the value cannot be pickled.
        """
        self._check("this value can only be pickled")
        try:
            return {self.file: pickle.dumps(value, protocol=PROTOCOL)}, {}
        except Exception as problem:  # a value's own __reduce__ may raise anything
            raise InvalidInputError(what=f"the value cannot be pickled: {problem}") from problem

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The value, from files in memory.

        Raises:
            InvalidInputError: Pickle was not asked for, or the value is something else.
        """
        wanted, (name, file) = candidates(as_), only(files, preferred=self.file)
        if bytes in wanted and (found := as_data(file, name, wanted)):
            return found[0]
        self._check("this version holds a pickle, which runs code when it is read")
        value = pickle.loads(file.getbuffer())
        if wanted and not isinstance(value, wanted):
            raise cannot_load(self.name, as_, type(value).__qualname__)
        return value

    def _check(self, what: str) -> None:
        if not self._allowed:
            raise InvalidInputError(what=what, fix="pass allow_pickle=True if you trust whoever wrote it")
