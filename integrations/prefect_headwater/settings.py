"""`PREFECT_INTEGRATIONS_HEADWATER_*`: where Prefect's own configuration says which repository to use.

| setting   | means                                                                |
|-----------|----------------------------------------------------------------------|
| URL       | the repository, in any form `headwater.connect` takes                |
| PROJECT   | where names without a project live                                   |
| TRACKING  | strict, lenient or off                                               |
| BLOCK     | name of a `HeadwaterRepository` block that says the three above      |
| ARTIFACTS | whether tasks show what they used and logged in Prefect's run graph  |
| EVENTS    | whether publications are also events in Prefect's feed at once       |

`headwater.configure` in code goes before the block, that before these, these before
`HEADWATER_URL` and its like. They also live in `prefect.toml` and in profiles.
"""

from __future__ import annotations

import threading
from typing import Any, cast

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import Field

from headwater.adapter import prefer


class HeadwaterSettings(PrefectBaseSettings):
    """One reading of the table above."""

    model_config = build_settings_config(("integrations", "headwater"))

    url: str | None = Field(default=None, description="The repository to use.")
    project: str | None = Field(default=None, description="Where names without a project live.")
    tracking: str | None = Field(default=None, description="How strict recording is: strict, lenient or off.")
    block: str | None = Field(default=None, description="A HeadwaterRepository block that says the above.")
    artifacts: bool = Field(default=True, description="Whether task runs show a link and a table in the run graph.")
    events: bool = Field(default=True, description="Whether publications appear in Prefect's event feed at once.")


_read: dict[str, HeadwaterSettings] = {}
_reading = threading.Lock()


def settings() -> HeadwaterSettings:
    """What holds in this process; read and applied when first asked for."""
    with _reading:
        if not _read:
            now = HeadwaterSettings()
            _apply(now)
            _read["now"] = now
        return _read["now"]


def forget() -> None:
    """Read them again at the next question, e.g. after the environment changed."""
    _read.clear()
    prefer()


def _apply(now: HeadwaterSettings) -> None:
    url, project, tracking = now.url, now.project, now.tracking
    if now.block is not None:
        from prefect_headwater.blocks import HeadwaterRepository  # blocks import half of Prefect

        block: HeadwaterRepository = cast("Any", HeadwaterRepository).load(now.block, _sync=True)  # also inside a loop
        url, project, tracking = block.location(), block.project or project, block.tracking or tracking
    prefer(url=url, project=project, tracking=tracking)
