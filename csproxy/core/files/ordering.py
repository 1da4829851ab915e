"""The order in which objects are created: what is referred to comes first.

Where objects refer to each other in a circle, or one to itself, every one of them that can do without the
offending references is created without them and updated afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

from csproxy.core.files.keys import Key, full_text, keys_in
from csproxy.core.files.operations import CREATE, UPDATE, Operation
from csproxy.core.model import SCHEMA, Attribute, AttributeKind, ObjectType
from csproxy.core.rules import EXTRA_FIXED, EXTRA_MANDATORY
from csproxy.errors import ConfigurationError

__all__ = ["Step", "in_order"]


class Step(NamedTuple):
    """An operation and the keys of objects that must have been created before it."""

    operation: Operation
    needs: frozenset[Key]


def in_order(steps: Sequence[Step]) -> list[Operation]:
    """The operations in an order that respects what they need, else as they stand; more of them if there are cycles.

    Raises `ConfigurationError` naming the objects of a cycle in which no reference can wait.
    """
    order = _sorted(steps)
    if len(order) == len(steps):
        return [steps[index].operation for index in order]
    done = set(order)
    waiting = {index: step for index, step in enumerate(steps) if index not in done}
    broken: list[Step] = [steps[index] for index in order]
    for circle in _circles(waiting):
        members = frozenset(waiting[index].operation.key for index in circle)
        for index in circle:
            step = waiting.pop(index)
            in_circle = len(circle) > 1 or step.operation.key in step.needs
            broken += _broken(step, members) if in_circle else [step]
    order = _sorted(broken)
    if len(order) < len(broken):
        stuck = sorted({broken[index].operation.key for index in set(range(len(broken))) - set(order)}, key=full_text)
        raise ConfigurationError(
            f"these objects need each other to be created: {', '.join(map(full_text, stuck[:10]))}"
        )
    return [broken[index].operation for index in order]


def _sorted(steps: Sequence[Step]) -> list[int]:
    """Indexes in order; those in or behind a cycle are missing."""
    creators = {step.operation.key: index for index, step in enumerate(steps) if step.operation.action == CREATE}
    blocked = [0] * len(steps)
    followers: dict[int, list[int]] = {}
    for index, step in enumerate(steps):
        for key in step.needs:
            creator = creators.get(key)
            if creator is not None:
                blocked[index] += 1
                followers.setdefault(creator, []).append(index)
    ready = [index for index, count in enumerate(blocked) if not count]  # ascending, and so a heap
    order: list[int] = []
    while ready:
        index = heappop(ready)
        order.append(index)
        for follower in followers.get(index, ()):
            blocked[follower] -= 1
            if not blocked[follower]:
                heappush(ready, follower)
    return order


def _circles(steps: Mapping[int, Step]) -> list[list[int]]:
    """Strongly connected components, each sorted (Tarjan's algorithm without recursion)."""
    creators = {step.operation.key: index for index, step in steps.items() if step.operation.action == CREATE}
    edges = {index: sorted(creators[key] for key in step.needs if key in creators) for index, step in steps.items()}
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found: list[list[int]] = []
    for root in steps:
        work = [(root, 0)] if root not in number else []
        while work:
            node, position = work.pop()
            if position == 0:
                number[node] = low[node] = len(number)
                path.append(node)
                on_path.add(node)
            for step in range(position, len(edges[node])):
                other = edges[node][step]
                if other not in number:
                    work += [(node, step + 1), (other, 0)]
                    break
                if other in on_path:
                    low[node] = min(low[node], number[other])
            else:
                if low[node] == number[node]:
                    start = path.index(node)
                    found.append(sorted(path[start:]))
                    on_path.difference_update(path[start:])
                    del path[start:]
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[node])
    return found


def _broken(step: Step, members: frozenset[Key]) -> list[Step]:
    """The steps instead of a creation in a cycle: one without references into it, and an update that adds them."""
    operation = step.operation
    kind = operation.object.kind
    hard = {name.partition(".")[0] for name in kind.required}
    held = {each.attribute.name for each in kind.properties if each.name in hard}
    bare = _without(kind.type, operation.values, members, held)
    if bare == operation.values:
        return [step]
    kept = set(keys_in(bare))
    if operation.object.folder is not None:
        kept.add(operation.object.folder)
    first = Operation(CREATE, operation.object, bare)
    then = Operation(UPDATE, operation.object, operation.values, 0, bare)
    owners = {key.parts[0] for key in kept if isinstance(key.parts[0], Key)}
    return [Step(first, step.needs & (kept | owners)), Step(then, step.needs | {operation.key})]


def _without(kind: ObjectType, values: Mapping[str, Any], members: Collection[Key], held: set[str]) -> dict[str, Any]:
    keep = held | EXTRA_FIXED.get(kind.name, frozenset()) | EXTRA_MANDATORY.get(kind.name, frozenset())
    return _stripped(kind.attributes, values, members, keep)


def _stripped(
    attributes: Mapping[str, Attribute], values: Mapping[str, Any], members: Collection[Key], keep: Collection[str] = ()
) -> dict[str, Any]:
    """The values without links to ``members``, where the model allows that; list items go as a whole."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        attribute = attributes.get(name)
        if isinstance(value, Key):
            must_stay = attribute is None or attribute.mandatory or attribute.fixed or name in keep
            if value in members and not must_stay:
                continue
            result[name] = value
        elif isinstance(value, list) and name not in keep:
            result[name] = [item for item in value if not _leads_to(item, members)]
        elif isinstance(value, dict) and attribute is not None and attribute.kind is AttributeKind.STRUCT:
            result[name] = _stripped(SCHEMA.structures[str(attribute.target)].attributes, value, members)
        else:
            result[name] = value
    return result


def _leads_to(item: Any, members: Collection[Key]) -> bool:
    return any(key in members for key in keys_in(item))
