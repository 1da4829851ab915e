"""A migration: every agent who has one skill gets another instead, with the level that it had.

    python examples/replace_skill.py "Spanish" "Spanish (EU)" --dry-run
    python examples/replace_skill.py "Spanish" "Spanish (EU)"

A script without an event loop: the blocking client. It may be run again after an interruption, for it
changes only agents who still have the old skill.
"""

from __future__ import annotations

import argparse
import copy

from csproxy import CsproxyError
from csproxy.core.model import CfgPerson, CfgSkill
from csproxy.sync import ConfigClient


def replaced(agent: CfgPerson, old: CfgSkill, new: CfgSkill) -> CfgPerson:
    """The agent with the new skill in the place of the old one, never with both."""
    changed = copy.deepcopy(agent)
    assert changed.agentInfo is not None
    levels = changed.agentInfo.skillLevels
    has_new = any(level.skillDBID == new.DBID for level in levels)
    changed.agentInfo.skillLevels = [level for level in levels if not (has_new and level.skillDBID == old.DBID)]
    for level in changed.agentInfo.skillLevels:
        if level.skillDBID == old.DBID:
            level.skillDBID = new.DBID
    return changed


def migrate(client: ConfigClient, old_name: str, new_name: str, *, dry_run: bool) -> int:
    """Change all agents; returns how many there were."""
    old = client.get(CfgSkill, name=old_name)
    new = client.get(CfgSkill, name=new_name, tenant_dbid=old.tenantDBID)
    agents = client.read(CfgPerson, skill_dbid=old.DBID)
    for agent in agents:
        print(f"{agent.userName}: {old_name} -> {new_name}{' (dry run)' if dry_run else ''}")
        if not dry_run:
            client.update(agent, replaced(agent, old, new))
    return len(agents)


def main() -> None:
    """Read the command line and migrate."""
    parser = argparse.ArgumentParser(description="Give another skill to all agents who have one.")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be changed")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2020)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    try:
        with ConfigClient(given.host, given.port, user=given.user, password=given.password) as client:
            count = migrate(client, given.old, given.new, dry_run=given.dry_run)
    except CsproxyError as e:
        raise SystemExit(f"{type(e).__name__}: {e}") from e
    print(f"{count} agents {'would be changed' if given.dry_run else 'changed'}")


if __name__ == "__main__":
    main()
