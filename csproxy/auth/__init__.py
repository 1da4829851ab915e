"""Ways of logging in: internal passwords, tokens, LDAP, RADIUS, Kerberos, the master, and the chain of them.

May import `csproxy.core` and `csproxy.transport`.
"""
