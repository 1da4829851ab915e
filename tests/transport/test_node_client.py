"""The Node.js client of examples/, against the published transcript and against real servers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csproxy.transport.wire.frames import MAGIC, Frame, FrameReader, encode_frame

ROOT = Path(__file__).parents[2]
TRANSCRIPT = json.loads((ROOT / "docs" / "vectors" / "session.json").read_text("utf-8"))["steps"]
PASSWORD = "node-secret"
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its dependency installed."""
    target = tmp_path_factory.mktemp("node") / "node-client"
    shutil.copytree(ROOT / "examples" / "node-client", target, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=target, check=True, timeout=DEADLINE_S
    )
    return target


# against the transcript


def answers_to(message: int) -> list[dict[str, Any]]:
    """What the transcript's server sends between this request and the next."""
    asked = next(i for i, step in enumerate(TRANSCRIPT) if step["sender"] == "client" and step["message"] == message)
    answers = []
    for step in TRANSCRIPT[asked + 1 :]:
        if step["sender"] == "client":
            break
        answers.append(step)
    return answers


def answer(request: Frame) -> bytes:
    """The transcript's answer, with the client's own request id."""
    data = b""
    for step in answers_to(request.message):
        payload = bytes.fromhex(step["hex"])[28:]
        number = request.request if step["request"] else 0
        epoch, uen = int(step["epoch"]), int(step["uen"])
        data += encode_frame(step["message"], payload, request=number, epoch=epoch, uen=uen, flags=step["flags"])
    return data


class TranscriptServer:
    """Answers as the transcript does, in pieces of ``piece`` bytes; keeps what it was sent."""

    def __init__(self, piece: int) -> None:
        self.piece = piece
        self.requests: list[Frame] = []
        self.done = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        try:
            assert await reader.readexactly(len(MAGIC)) == MAGIC
            while data := await reader.read(65536):
                for frame in frames.receive_data(data):
                    self.requests.append(frame)
                    sent = answer(frame)
                    for start in range(0, len(sent), self.piece):
                        writer.write(sent[start : start + self.piece])
                        await writer.drain()
                        await asyncio.sleep(0)
        except ConnectionError:
            pass  # the client has what it wanted and closed while the rest was under way
        finally:
            writer.close()
            self.done.set()


async def run_against_transcript(client: Path, piece: int) -> tuple[int | None, list[dict[str, Any]], list[Frame]]:
    transcript = TranscriptServer(piece)
    server = await asyncio.start_server(transcript.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            "node",
            *("example.mjs", "127.0.0.1", str(port), "default", "secret", "default"),
            cwd=client,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
            await transcript.done.wait()
    return process.returncode, [json.loads(line) for line in output.splitlines()], transcript.requests


@pytest.mark.parametrize("piece", [3, 100_000], ids=["three bytes at a time", "at once"])
def test_the_client_follows_the_published_session(node_client: Path, piece: int) -> None:
    status, lines, requests = asyncio.run(run_against_transcript(node_client, piece))
    assert status == 0
    assert [line["step"] for line in lines] == ["connected", "registered", "read", "subscribed", "changed", "closed"]
    epoch = TRANSCRIPT[3]["epoch"]
    assert lines[1] == {"step": "registered", "role": "master", "epoch": epoch, "uen": "4711"}
    [person] = lines[2]["persons"]
    assert (person["DBID"], person["lastName"], lines[2]["uen"]) == (100, "Müller", "4711")
    changed = lines[4]
    assert (changed["action"], changed["dbid"], changed["delta"]) == ("updated", 100, {"firstName": "Dieter"})
    assert (changed["epoch"], changed["uen"], changed["fromHistory"], changed["last"]) == (epoch, "4713", True, True)
    assert changed["timeMs"] == 1_767_225_600_000
    subscription = requests[-1]
    assert (subscription.message, subscription.epoch, subscription.uen) == (78, int(epoch), 4711)


# against the vectors

READ_VECTORS = """
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { FrameReader, encodeFrame } from "./client.mjs";

function published(value) {
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("hex") };
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(published);
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value).map(([key, item]) => [key, published(item)]);
    const isNumbered = entries.length > 0 && entries.every(([key]) => /^[0-9]+$/.test(key));
    return isNumbered ? { $map: entries.map(([key, item]) => [Number(key), item]) } : Object.fromEntries(entries);
  }
  return value;
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (Number.isInteger(value) && value > 0xffffffff) return BigInt(value);  // else it is written as a float
  if (value === null || typeof value !== "object") return value;
  if ("$bytes" in value) return Buffer.from(value.$bytes, "hex");
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

let count = 0;
for (const vector of JSON.parse(readFileSync(process.argv[1]))) {
  const bytes = Buffer.from(vector.hex, "hex");
  const position = { epoch: BigInt(vector.epoch), uen: BigInt(vector.uen) };
  const [frame] = new FrameReader().receive(bytes);
  assert.equal(frame.message, vector.message, vector.name);
  assert.deepEqual(frame.position, position, vector.name);
  assert.equal(frame.end, (vector.flags & 1) !== 0, vector.name);
  assert.equal(frame.history, (vector.flags & 2) !== 0, vector.name);
  if (!vector.hex.includes("cf1b2c3d4e5f607182")) {  // an epoch, which a JSON number cannot hold
    assert.deepEqual(published(frame.fields), vector.fields, vector.name);
  }
  if (vector.sender === "client") {
    const fields = bytes.length > 28 ? plain(vector.fields) : undefined;
    const sent = encodeFrame(vector.message, fields, { request: vector.request, position, flags: vector.flags });
    assert.equal(sent.toString("hex"), vector.hex, vector.name);
  }
  count += 1;
}
console.log(count);
"""


def test_node_reads_every_message_vector_and_writes_the_clients(node_client: Path) -> None:
    vectors = ROOT / "docs" / "vectors" / "messages.json"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", READ_VECTORS, str(vectors)],
        cwd=node_client,
        timeout=DEADLINE_S,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert int(done.stdout) == len(json.loads(vectors.read_text("utf-8")))


# against real servers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def tool(*arguments: str, port: int) -> str:
    """Run ``csproxy`` against a server on this machine; its standard output."""
    environment = os.environ | {"CSPROXY_HOST": "127.0.0.1", "CSPROXY_PORT": str(port), "CSPROXY_PASSWORD": PASSWORD}
    done = subprocess.run(
        [command("csproxy"), *arguments],
        env=environment,
        check=True,
        timeout=DEADLINE_S,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """A master and a proxy as processes; role → port."""
    directory = tmp_path_factory.mktemp("servers") / "site"
    ports = {"master": free_port(), "proxy": free_port()}
    subprocess.run(
        [
            *(command("csproxy"), "init", str(directory), "--master-port", str(ports["master"])),
            *("--proxy", f"CSProxy_1={ports['proxy']}", "--password", PASSWORD),
        ],
        check=True,
        timeout=DEADLINE_S,
    )
    processes = []
    try:
        for role, arguments in (
            ("master", ["-c", str(directory / "confserv.conf")]),
            ("proxy", ["-host", "127.0.0.1", "-port", str(ports["master"]), "-app", "CSProxy_1"]),
        ):
            working = tmp_path_factory.mktemp(role)
            processes.append(subprocess.Popen([command("confserv"), *arguments], cwd=working))
            tool("status", "--wait", "30", port=ports[role])
        yield ports
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=DEADLINE_S)


def read_until(process: subprocess.Popen[str], step: str) -> list[dict[str, Any]]:
    """The client's lines up to the one that reports ``step``."""
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["step"] == step:
            return lines
    raise AssertionError(f"the client ended before {step!r}: {lines}")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["master", "proxy"])
def test_the_client_reads_and_receives_a_change_from_a_real_server(
    node_client: Path, servers: dict[str, int], role: str
) -> None:
    arguments = ["node", "example.mjs", "127.0.0.1", str(servers[role]), "default", "-", "default"]
    environment = os.environ | {"CSPROXY_PASSWORD": PASSWORD}
    with subprocess.Popen(arguments, cwd=node_client, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = read_until(process, "subscribed")
            assert lines[1]["role"] == role
            assert [person["DBID"] for person in lines[2]["persons"]] == [100]
            name = f"Dieter{time.time_ns()}"
            tool("update", "person", "100", f"firstName={name}", port=servers["master"])
            changed = read_until(process, "closed")[0]
            assert (changed["step"], changed["dbid"], changed["delta"]) == ("changed", 100, {"firstName": name})
            assert changed["user"] == "default"
            assert int(changed["uen"]) > int(lines[2]["uen"])
            assert process.wait(timeout=DEADLINE_S) == 0
        finally:
            process.kill()
