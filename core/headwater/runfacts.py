"""A run's config and summary, as the step sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.model.values import to_plain


class Facts(dict[str, Any]):
    """A run's config or summary: a dict that remembers which keys were set since they were last sent."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        super().__init__(values)
        self._where = where
        self._changed: set[str] = set()

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(str(name), to_plain(value, f"{self._where}.{name}"))
        self._changed.add(str(name))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As `dict.update`; every value becomes JSON."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def take_changed(self) -> dict[str, Any]:
        """What was set since the last call."""
        changed, self._changed = self._changed, set()
        return {name: self[name] for name in sorted(changed) if name in self}
