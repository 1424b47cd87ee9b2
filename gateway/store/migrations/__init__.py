"""Alembic migrations, oldest first under `versions/`; `gateway.store.migrate` runs them."""
