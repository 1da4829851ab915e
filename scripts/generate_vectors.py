"""Write docs/vectors/*.json, the byte-exact examples of the wire protocol.

    python scripts/generate_vectors.py [DIRECTORY]

A test runs this and compares, so that the files always say what the code does. In the JSON, bytes
are hexadecimal; the 64-bit numbers of a header are decimal text (JavaScript's numbers lose digits);
inside ``fields`` a byte string stands as {"$bytes": hex} and a map with integer keys as
{"$map": [[key, value], ...]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from vector_administration import ADMINISTRATION
from vector_breakages import BROKEN
from vector_deltas import DELTAS, REFUSED_DELTAS
from vector_examples import EPOCH, MESSAGES, SESSION_STEPS, Example

from csproxy.core import codec
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import canonical, compute_delta
from csproxy.transport.wire.frames import FLAG_END, FLAG_HISTORY, MAGIC, encode_frame

TARGET: Final = Path(__file__).parent.parent / "docs" / "vectors"


def to_json(value: Any) -> Any:
    """A decoded payload as JSON can hold it."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return {"$map": [[key, to_json(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    return value


def encode_example(example: Example) -> bytes:
    """The frame of an example."""
    return encode_frame(
        example.message,
        example.encoded_payload,
        request=example.request,
        epoch=example.position.epoch,
        uen=example.position.uen,
        flags=example.flags,
    )


def message_vector(example: Example) -> dict[str, Any]:
    """One message: header fields, payload fields, and all its bytes."""
    payload = example.encoded_payload
    return {
        "sender": example.sender,
        "message": int(example.message),
        "flags": example.flags,
        "request": example.request,
        "epoch": str(example.position.epoch),
        "uen": str(example.position.uen),
        "fields": to_json(codec.decode(payload)) if payload else {},
        "hex": encode_example(example).hex(),
    }


def frames() -> list[dict[str, Any]]:
    """The header alone: smallest, largest and unknown values."""
    cases: list[tuple[str, dict[str, int], bytes]] = [
        ("smallest frame", {"message": 1028, "flags": 0, "request": 1, "epoch": 0, "uen": 0}, b""),
        ("empty map as payload", {"message": 1028, "flags": 0, "request": 1, "epoch": 0, "uen": 0}, b"\x80"),
        (
            "every field at its largest",
            {"message": 65535, "flags": 255, "request": 2**32 - 1, "epoch": 2**64 - 1, "uen": 2**64 - 1},
            b"\x81\xa1a\x01",
        ),
        (
            "END and HISTORY",
            {"message": 75, "flags": FLAG_END | FLAG_HISTORY, "request": 0, "epoch": EPOCH, "uen": 1},
            b"\x80",
        ),
    ]
    return [
        {
            "name": name,
            **{key: str(value) if key in ("epoch", "uen") else value for key, value in header.items()},
            "payload": payload.hex(),
            "hex": encode_frame(header.pop("message"), payload, **header).hex(),
        }
        for name, header, payload in cases
    ]


def broken() -> list[dict[str, Any]]:
    """Inputs that must be refused."""
    return [
        {
            "name": name,
            "side": breakage.side,
            "state": breakage.state,
            "open_request": None if breakage.open_request is None else int(breakage.open_request),
            "hex": breakage.data.hex(),
            "code": breakage.code,
            "says": breakage.says,
        }
        for name, breakage in BROKEN.items()
    ]


def session() -> dict[str, Any]:
    """A whole session; the magic bytes stand before the first frame."""
    return {
        "magic": MAGIC.hex(),
        "steps": [{"what": what, **message_vector(example)} for what, example in SESSION_STEPS],
    }


def deltas() -> dict[str, Any]:
    """Deltas with the object before and after, all in plain form; and deltas that do not fit."""
    computed = []
    for name, example in DELTAS.items():
        object_type = SCHEMA.object_type(example.type)
        before, after = canonical(object_type, example.before), canonical(object_type, example.after)
        delta = compute_delta(object_type, before, after)
        plain = {"before": before, "delta": delta, "after": after}
        computed.append({"name": name, "type": example.type, **{key: to_json(value) for key, value in plain.items()}})
    refused = [
        {
            "name": name,
            "type": example.type,
            "before": to_json(example.before),
            "delta": to_json(example.delta),
            "code": example.code,
        }
        for name, example in REFUSED_DELTAS.items()
    ]
    return {"deltas": computed, "refused": refused}


def documents() -> dict[str, Any]:
    """File name → content."""
    return {
        "frames.json": frames(),
        "messages.json": [
            {"name": name, **message_vector(example)} for name, example in (MESSAGES | ADMINISTRATION).items()
        ],
        "broken.json": broken(),
        "session.json": session(),
        "deltas.json": deltas(),
    }


def main(target: Path) -> None:
    """Write all files to ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
