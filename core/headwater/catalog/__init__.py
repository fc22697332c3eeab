"""Facts in SQL: the only folder of the house that speaks it."""
