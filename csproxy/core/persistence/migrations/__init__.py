"""Alembic migrations of the Configuration Database; `csproxy.core.persistence.schema` runs them."""
