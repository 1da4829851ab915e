"""Bringing a database to this release's schema, from an installed package and without alembic.ini."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Final

from sqlalchemy import Connection, inspect, text

from csproxy.core.persistence.tables import SCHEMA_VERSION
from csproxy.errors import StoreError

__all__ = ["migrate", "schema_version"]

_running: Final = Lock()
"""Alembic's ``op`` is one per process: two migrations at once would write to each other's database."""


def schema_version(connection: Connection) -> str | None:
    """The database's schema version, None when it has none of our tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if version is None else str(version)


def migrate(connection: Connection) -> str | None:
    """Run the migrations that are missing, inside the caller's transaction; returns the version found before.

    Raises `StoreError` when the database was made by a newer release.
    """
    found = schema_version(connection)
    if found == SCHEMA_VERSION:
        return found
    # imported here: most starts find the schema up to date, and alembic takes 0.1 s to import
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext, RevisionStep
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"the database has schema version {found}, made by a newer release: this one knows up to {SCHEMA_VERSION}"
        )

    def steps(revision: object, context: MigrationContext) -> list[RevisionStep]:
        del context
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type]

    with _running, EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
    return found
