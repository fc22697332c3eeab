"""A run's config and summary, as the step sees them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

from headwater.model.values import to_plain


class Facts(dict[str, Any]):
    """A run's config or summary: a dict that knows what of it was sent. What was sent and is deleted becomes null."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        super().__init__(values)
        self._where = where
        self._sent: dict[str, Any] = copy.deepcopy(dict(values))

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(str(name), to_plain(value, f"{self._where}.{name}"))

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As `dict.setdefault`."""
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Any) -> Self:  # type: ignore[override, misc]  # dict overloads it
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As `dict.update`; every value becomes JSON."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def take_changed(self) -> dict[str, Any]:
        """What is not as it was at the last call, also inside of lists and dicts that were changed in place.

        Raises:
            InvalidInputError: Something that was put inside has no JSON form.
        """
        now = {name: to_plain(value, f"{self._where}.{name}") for name, value in sorted(self.items())}
        now |= {name: None for name in self._sent if name not in self}
        changed = {name: value for name, value in now.items() if name not in self._sent or self._sent[name] != value}
        self._sent |= changed
        return changed
