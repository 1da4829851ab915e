"""The wire protocol without I/O: frames, messages and the two state machines.

    frames.py           the 28-byte header, and cutting a byte stream into frames
    messages.py         message numbers, and the table of payloads
    payload.py          what all payloads share; then one module for each subject:
                        registration.py, subscriptions.py, reads.py, writes.py, history.py,
                        replication.py, administration.py
    exchanges.py        which message answers which, and who sends what
    notifications.py    changes to notification frames and back
    bytecode.py         notifications without the bytecode of scripts
    server_protocol.py  the server's side of one connection
    client_protocol.py  the client's side of one connection

`docs/protocol.md` describes the same for other languages; `docs/vectors/` holds byte-exact examples.
"""
