"""What Headwater asks of the world: object stores, sources, catalogs, codecs.

Small protocols, one question each. Nobody inherits from them; an implementation
is proved by the contract suites in `tests/contracts`. No foreign exception
crosses a port: everything raised is of `headwater.errors`.
"""

from headwater.ports.facts import (
    Catalog,
    CollectorCatalog,
    EventCatalog,
    LineageCatalog,
    PackCatalog,
    RunCatalog,
    VersionCatalog,
)
from headwater.ports.outside import (
    Checked,
    Codec,
    Found,
    ObjectInfo,
    ObjectStore,
    Outcome,
    Progress,
    RangedSource,
    Source,
    outcome_of,
)

__all__ = [
    "Catalog",
    "Checked",
    "Codec",
    "CollectorCatalog",
    "EventCatalog",
    "Found",
    "LineageCatalog",
    "ObjectInfo",
    "ObjectStore",
    "Outcome",
    "PackCatalog",
    "Progress",
    "RangedSource",
    "RunCatalog",
    "Source",
    "VersionCatalog",
    "outcome_of",
]
