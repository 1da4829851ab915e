"""The local copy under kill -9 and a full disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from tests.core.persistence.copy_world import SKILL, paths_in, read, state_of, stored

WRITER = """
import os, sys
from pathlib import Path
from csproxy.core.persistence.copy_format import Kind, Record
from tests.core.persistence.copy_world import SKILL, stored, write_copy

generation = int(sys.argv[2])
while True:
    generation += 1
    objects = {(SKILL, generation * 1000 + dbid): (stored(generation * 1000 + dbid), dbid) for dbid in range(1, 300)}
    journal = write_copy(Path(sys.argv[1]), objects, file_id=os.urandom(16), block_bytes=500)
    for number in range(20):
        journal.append([Record(Kind.TRANSACTION, b"%d %d" % (generation, number))])
        print(f"{generation} {number}", flush=True)
    journal.close()
"""


def test_kill_9_at_any_moment_leaves_a_complete_state_not_older_than_what_was_reported(tmp_path: Path) -> None:
    rng = random.Random(7)
    generation = 0
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(generation)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=os.getcwd(),
        ) as writer:
            assert writer.stdout is not None
            seen = [writer.stdout.readline() for _ in range(rng.randint(1, 50))]
            writer.send_signal(signal.SIGKILL)
            last = [*seen, *writer.stdout][-1]
        reported, number = map(int, last.split())
        copy = read(tmp_path)
        assert copy is not None
        state = state_of(copy)
        assert state is not None
        generation = min(dbid for _, dbid in state.objects) // 1000
        keys = {(SKILL, generation * 1000 + dbid): (stored(generation * 1000 + dbid), dbid) for dbid in range(1, 300)}
        assert state.objects == keys
        written = [record.payload for record in state.journal]
        assert written == [b"%d %d" % (generation, each) for each in range(len(written))]
        assert (generation, len(written) - 1) >= (reported, number)


FILLER = """
import os, resource, sys
from pathlib import Path
from csproxy.core.persistence.copy_format import Kind, Record
from tests.core.persistence.copy_world import small, write_copy, SKILL, stored

folder = Path(sys.argv[1])
journal = write_copy(folder, small())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
written = 0
try:
    while True:
        journal.append([Record(Kind.TRANSACTION, b"%04d" % written * 300)])
        written += 1
except OSError as e:
    print(written, e.strerror)
big = {(SKILL, dbid): (stored(dbid), 1) for dbid in range(1, 2000)}
for limit in (20, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_copy(folder, big, file_id=os.urandom(16))
    except OSError as e:
        print(sorted(path.suffix[:8] for path in folder.iterdir()), e.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append([Record(Kind.TRANSACTION, b"%04d" % written * 300)])
"""


def test_a_full_disk_harms_nothing_that_was_written_and_writing_goes_on_when_there_is_space(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    full, *snapshots = done.stdout.splitlines()
    written = int(full.split()[0])
    assert written > 5
    assert full.endswith("File too large")
    assert len(snapshots) == 2
    copy = read(tmp_path)
    assert copy is not None
    assert [record.payload for record in copy.journal.records] == [b"%04d" % n * 300 for n in range(written + 1)]
    assert copy.journal.cut == ""


def test_a_journal_that_cannot_be_made_leaves_the_old_generation(tmp_path: Path) -> None:
    """The snapshot is complete and on the disk, then the disk is full: it must not take the old one's place."""
    code = """
import os, resource, sys
from pathlib import Path
from tests.core.persistence.copy_world import cache_of, header_of, paths_in, write_copy, small
from csproxy.core.persistence.copy_format import Kind, Record
from csproxy.core.persistence.copy_writing import SnapshotWriter

folder = Path(sys.argv[1])
write_copy(folder, small())
for limit, records in ((10, []), (300, [Record(Kind.TRANSACTION, b"x" * 1000)])):
    writer = SnapshotWriter(paths_in(folder), header_of(cache_of({})), file_id=os.urandom(16))
    writer.write_history([b"y" * 400])
    real = writer._record
    def record(kind, parts):  # the disk is full from the end of the snapshot on
        real(kind, parts)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    writer._record = record
    try:
        writer.commit(records, changes=0)
    except OSError as e:
        print(e.strerror)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.abort()
print(len(list(folder.iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["File too large", "File too large", "2"], done.stderr
    assert paths_in(tmp_path).snapshot.exists()
    assert read(tmp_path) is not None
