"""Ways of logging in: internal passwords now; tokens, LDAP, RADIUS and Kerberos belong here.

May import `csproxy.core` and `csproxy.transport`.
"""
