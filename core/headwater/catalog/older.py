"""What SQLAlchemy 1.4 lacks. Airflow 3.0 does not run with a newer one, and its workers have but one environment."""

from __future__ import annotations

from typing import Any

from sqlalchemy.types import UserDefinedType


class Double(UserDefinedType[Any]):
    """A floating point number of 8 bytes, as SQLite declares it."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "DOUBLE"
