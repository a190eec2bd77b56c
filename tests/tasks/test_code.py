"""The sandbox holds what it says it holds, and `code` never blocks an event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routewright.tasks import build_metric
from routewright.tasks.code import code_of
from routewright.tasks.sandbox import Limits, Ran, _run, guards, run_python

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are checked on Linux")
ROOMY = Limits(wall_s=30, memory_mb=256)  # for programs that end by themselves: a busy machine takes its time


def ran(program: str, limits: Limits = ROOMY) -> Ran:
    return run_python(program, limits)


def test_a_program_that_ends_has_finished() -> None:
    result = ran("print('hello')")
    assert (result.finished, result.timed_out, result.exit_code, result.output) == (True, False, 0, "hello")


def test_the_standard_library_and_threads_work() -> None:
    program = """
import collections, dataclasses, datetime, decimal, functools, heapq, itertools, json, math, random, re, typing
import threading
seen = []
thread = threading.Thread(target=seen.append, args=(1,))
thread.start(); thread.join()
with open("note.txt", "w") as file:
    file.write("ok")
assert seen == [1] and open("note.txt").read() == "ok"
"""
    assert ran(program).finished


def test_an_endless_loop_ends_at_the_deadline() -> None:
    start = time.monotonic()
    result = ran("while True: pass", Limits(wall_s=0.5))
    assert result.timed_out
    assert not result.finished
    assert time.monotonic() - start < 15  # never, without the deadline


def test_sleeping_does_not_outlast_the_deadline() -> None:
    assert ran("import time; time.sleep(60)", Limits(wall_s=0.5)).timed_out


def test_memory_is_bounded() -> None:
    result = ran("x = bytearray(10**9)")
    assert not result.finished
    assert "MemoryError" in result.output


def test_a_fork_bomb_gets_nowhere() -> None:
    marker = f"bomb-{os.getpid()}"
    result = ran(f"import os, sys\nname = {marker!r}\nwhile True:\n    os.fork()")
    assert not result.finished
    assert "refuses os.fork" in result.output


def test_a_deadline_takes_the_whole_group_along(tmp_path: Path) -> None:
    """A process that got past the hook is not told apart from the program: it dies with it."""
    note = tmp_path / "pid"
    command = ["/bin/sh", "-c", f"sleep 60 & echo $! > {note}; wait"]
    with (tmp_path / "output").open("wb") as sink:
        _, late = _run(command, tmp_path, sink.fileno(), b"", 1.0)
    assert late
    status = Path(f"/proc/{int(note.read_text())}/status")
    deadline = time.monotonic() + 20  # it would sleep for 60; the kernel takes a moment to end what it was told to kill
    while _lives(status) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(status)


def _lives(status: Path) -> bool:
    try:
        return "(zombie)" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_writing_outside_its_folder_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "evil"
    kept = tmp_path / "kept"
    kept.write_text("here")
    for attack in (
        f"open({str(target)!r}, 'w')",
        f"import os; os.open({str(target)!r}, os.O_WRONLY | os.O_CREAT)",
        f"import os; os.remove({str(kept)!r})",
        f"import os; os.rename({str(kept)!r}, 'mine')",
        f"import os; os.symlink({str(tmp_path)!r}, 'way'); open('way/evil', 'w')",
        f"import shutil; shutil.rmtree({str(tmp_path)!r})",
    ):
        result = ran(attack)
        assert not result.finished, attack
        assert "sandbox refuses" in result.output, attack
    assert not target.exists()
    assert kept.read_text() == "here"


def test_output_and_files_are_bounded() -> None:
    result = ran("while True: print('x' * 10_000)", Limits(wall_s=30, file_mb=1))
    assert not result.finished
    assert len(result.output) <= 2_000
    assert not ran("open('big', 'wb').write(bytes(3 << 20))", Limits(wall_s=30, file_mb=1)).finished
    assert not ran("files = [open('f', 'w') for _ in range(500)]").finished


def test_environment_input_and_network_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "42")
    assert ran("import os\nassert 'MY_SECRET' not in os.environ, dict(os.environ)").finished
    assert "EOFError" in ran("input()").output
    assert "refuses socket.connect" in ran("import socket; socket.create_connection(('127.0.0.1', 9))").output
    if guards().network:
        names = "import socket\nassert {name for _, name in socket.if_nameindex()} <= {'lo'}, socket.if_nameindex()"
        assert ran(names).finished


@pytest.mark.parametrize("program", ["raise SystemExit(0)", "import os; os._exit(0)", "import os; os.abort()"])
def test_leaving_early_is_not_finishing(program: str) -> None:
    assert not ran(program).finished


@pytest.mark.parametrize(
    "attack", ["import subprocess; subprocess.run(['ls'])", "import ctypes", "import os; os.system('ls')"]
)
def test_other_programs_are_refused(attack: str) -> None:
    assert "sandbox refuses" in ran(attack).output


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran("open('a', 'w').write('x')")
    ran("while True: pass", Limits(wall_s=0.3))
    assert list(tmp_path.iterdir()) == []


def test_odd_text_does_no_harm() -> None:
    assert ran("x = 1\x00 # \ud800").finished
    assert not ran("\x01").finished
    assert not ran("(" * 5_000).finished


# -- the metric


def test_scoring_leaves_the_event_loop_free() -> None:
    async def both() -> tuple[float, int]:
        ticks = 0
        metric = build_metric("code", {"timeout_s": 0.6})
        task = asyncio.create_task(metric.ascore("while True: pass", "assert True"))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return task.result().value, ticks

    value, ticks = asyncio.run(both())
    assert value == 0.0
    assert ticks >= 3  # none, if the loop were held up


def test_notes_say_why() -> None:
    roomy = build_metric("code", {"timeout_s": 30.0})
    assert roomy.score("def f(): return 1", "assert f() == 2, 'two'").note.endswith("AssertionError: two")
    assert build_metric("code", {"timeout_s": 1.0}).score("while True: pass", "").note == "not done after 1 s"


def test_code_is_found_in_a_reply() -> None:
    assert code_of("Use `f`:\n```python\ndef f():\n    return 1\n```\nThen\n```\n1\n```") == "def f():\n    return 1"
    assert code_of("def f(): pass") == "def f(): pass"
    assert code_of("x" * 300_000) is None


def test_the_package_is_not_imported_on_the_far_side() -> None:
    program = "import sys\nassert not [m for m in sys.modules if m.startswith('routewright')], sys.modules"
    assert ran(program).finished
    assert subprocess.run([sys.executable, "-c", "import routewright.tasks"], check=True).returncode == 0
