"""csproxy: a configuration replica for Genesys contact centres, as a library.

What an embedder uses first is exported here; the folders are `csproxy.core` (no I/O),
`csproxy.transport` (wire protocol, server, client), `csproxy.auth`, `csproxy.daemon` (the
programs) and `csproxy.testing` (public test helpers).
"""

__version__ = "0.1.0"
