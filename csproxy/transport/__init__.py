"""Bytes and streams: the wire protocol, channels, the server, the client and the upstream link.

May import `csproxy.core`; must not import `csproxy.auth` or `csproxy.daemon`, and reads no
settings, environment, argv or signals.
"""
