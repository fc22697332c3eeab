"""Alembic steps, run only on command (`migrate.upgrade`)."""
