"""Write docs/reference/transport-parameters.md from the rows in csproxy/core/transport_parameters.py.

    python scripts/generate_transport_reference.py [FILE]

A test runs this and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from csproxy.core.transport_parameters import TRANSPORT_PARAMETERS, TransportParameter

TARGET: Final = Path(__file__).parent.parent / "docs" / "reference" / "transport-parameters.md"

HEAD: Final = """# Transport parameters

`name=value;name=value`, names in any case. What they do together: [TLS and ports](../topics/tls.md). This page is made
from the table in `csproxy/core/transport_parameters.py`.

Each parameter is looked up on its own, in this order; the first place that names it counts, be it with an empty value:

| | first | then | then | then |
|---|---|---|---|---|
| a port of a server | Port | Application | Host | |
| a proxy's connection to its master | Connection | Application | Host | the Port it goes to, for `tls` alone |
| a connection to the other one of a pair | | Application | Host | the Port it goes to, for `tls` alone |

- Port (`portInfos`) and Connection (`appServerDBIDs`): the field `transportParams`.
- Application: section `security` of its options, else of its annex. Host: section `security` of its annex. Either one
  option for each parameter, or all of them as the value of the option `transport`.
- The port `default` of a master: option `transport` of its section in confserv.conf comes before its Port.
- Of a proxy's connection to its master, `-transport-NAME VALUE` on the command line and the option `master-transport`
  of `[csproxy]` in confserv.conf come before the Connection.

A change of an object counts for the connections made from then on, of a port as of a connection (*new connections*);
what the command line and confserv.conf say is read at the start.
[While the server runs](../topics/tls.md#while-the-server-runs).

`address`, `port` and `user` of a Port stand there alone. A name that is not known is ignored with a warning.

D: documented by the vendor (defaults and some semantics are ours). O: our own choice.

| parameter | of | default | valid | takes effect | meaning | |
|---|---|---|---|---|---|---|
"""


def reference() -> str:
    """The page."""
    return HEAD + "".join(map(_line, TRANSPORT_PARAMETERS))


def _line(row: TransportParameter) -> str:
    place = {"both": "port, connection"}.get(row.place, row.place)
    return (
        f"| {row.name} | {place} | {row.default} | {row.valid} | {row.effect.value} | {row.meaning} | {row.origin} |\n"
    )


def main(arguments: list[str]) -> None:
    """Write the page to FILE or its place."""
    Path(arguments[0] if arguments else TARGET).write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
