"""Databases and copies on disk: the one part of the core that does blocking I/O.

Everything here is synchronous; an event loop calls it through a worker thread. Nothing here knows
the rules of the object model: what is stored has been checked before.

    tables.py      the schema, as SQLAlchemy tables
    migrations/    how a database comes to this schema
    schema.py      running the migrations, checking the version
    lock.py        one server per database
    records.py     what goes in and out, as plain values
    engine.py      connections, transactions, and errors mapped once
    history.py     the history log
    credentials.py passwords, former ones, log-ins
    store.py       the store
"""
