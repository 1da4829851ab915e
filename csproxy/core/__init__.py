"""The configuration replica without sockets, clock or event loop.

What lives here decides; it never waits. Time comes in as a number and randomness as a callable.
The only part that does blocking I/O is `csproxy.core.persistence`.

    model/          the object model: schema as data, typed objects, deltas
    codec.py        the one place that knows msgpack
    changes.py      a change, a transaction, a position in the change stream
    cache.py        the configuration as encoded objects, with views and digests
    filters.py      what every filter key means, and how it is answered
    changelog.py    the bounded window of recent changes
    subscriptions.py  who wants which change
    replica.py      cache, log and subscriptions moved together
    permissions.py  access control lists and what an account may do
    password_rules.py  which rules hold for a user's password and account
    log_in_state.py    last log-in, wrong passwords, lockout
    credentials.py  hashes and log-in states, and how two books of them become equal
    sessions.py     client sessions, connected and detached
    replication.py  the states of a replica that follows a master
    failover.py     endpoint order and back-off
    standby.py      who of a warm-standby pair of proxies serves
    writes.py       a write request becomes a checked list of changes
    persistence/    SQL stores

Nothing here may import anyio, sockets, ssl, threads, or anything above core.
"""
