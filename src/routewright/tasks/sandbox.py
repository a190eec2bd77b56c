"""A Python program in a process of its own, with limits: what `code` runs answers in.

What it holds off, on Linux: endless loops (CPU time, and a deadline after which the whole process group is killed),
memory (address space), large files and output, many open files, forks and other programs, inherited environment, input
and open files, writing outside its temporary folder, and the network.

What it is not: a wall against somebody who wants out. Processes, writing and `ctypes` are refused by an audit hook of
Python, which code written to escape can get around; then the user's own rights decide, and those are dropped to a user
of no one only where we run as root and that user can read Python's library (`guards()` says). It may read every file
that user may. Without a user of its own, it can see other processes. Run answers you have reason to fear in a
container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from routewright.errors import RoutewrightError

_CHILD = Path(__file__).with_name("sandbox_child.py")
_USERS = 1_000_000_000  # user ids from here on belong to no one


class Limits(NamedTuple):
    """What a program may use."""

    wall_s: float = 5.0
    memory_mb: int = 512
    file_mb: int = 4
    output_kb: int = 64
    files: int = 64
    processes: int = 8


class Guards(NamedTuple):
    """Which of the guards that depend on the machine are in force here."""

    network: bool
    """It has a network of its own, with nothing in it. Else sockets are refused by the audit hook alone."""
    user: bool
    """It runs as a user of its own, so that files' owners and the limit on processes protect the rest."""


class Ran(NamedTuple):
    """How a program ended. `finished`: it ran to its last line, which exiting early does not fake."""

    finished: bool
    timed_out: bool
    exit_code: int
    output: str


@cache
def guards() -> Guards:
    """Which guards this machine allows; tried once."""
    network = False
    if (unshare := shutil.which("unshare")) is not None:
        trial = [unshare, *_network_flags(), sys.executable, "-I", "-S", "-c", ""]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            network = subprocess.run(trial, capture_output=True, timeout=10, check=False).returncode == 0
    library = Path(os.__file__).resolve().parent
    readable = all(folder.stat().st_mode & 0o001 for folder in (library, *library.parents))
    return Guards(network, hasattr(os, "geteuid") and os.geteuid() == 0 and readable)


def _network_flags() -> list[str]:
    return ["--net"] if os.geteuid() == 0 else ["--user", "--map-current-user", "--net"]


def run_python(program: str, limits: Limits) -> Ran:
    """Run a program to its end, its limit or its deadline; never raises for what the program does.

    Blocks: call it in a thread from an event loop.
    """
    if os.name != "posix":
        raise RoutewrightError(
            f"Code is run with POSIX limits, which {sys.platform} lacks. Score code on Linux or macOS."
        )
    here = guards()
    token = secrets.token_hex(16)
    user = _USERS + secrets.randbelow(1_000_000_000) if here.user else -1
    with tempfile.TemporaryDirectory(prefix="routewright-code-", ignore_cleanup_errors=True) as outside:
        inside = Path(outside) / "work"
        inside.mkdir(mode=0o700)
        if user >= 0:
            os.chmod(outside, 0o711)
            os.chown(inside, user, user)
        source, output = Path(outside) / "program.py", Path(outside) / "output"
        source.write_text(program.replace("\x00", ""), encoding="utf-8", errors="replace")
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_CHILD), str(source), str(user)]
        command += [str(limits.memory_mb), str(limits.file_mb), str(limits.files), str(limits.processes)]
        command.append(str(int(limits.wall_s) + 1))
        if here.network:
            command = [str(shutil.which("unshare")), *_network_flags(), *command]
        with output.open("wb") as sink:
            code, late = _run(command, inside, sink.fileno(), f"{token}\n".encode(), limits.wall_s)
        text = _tail(output, limits.output_kb)
    finished = text.endswith(f"\n{token}\n")
    return Ran(finished and code == 0 and not late, late, code, text.replace(token, "").strip()[-2_000:])


def _run(command: list[str], folder: Path, sink: int, given: bytes, wall_s: float) -> tuple[int, bool]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=sink,
        stderr=sink,
        close_fds=True,
        start_new_session=True,
    )
    late = False
    try:
        process.communicate(given, timeout=wall_s)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it started goes with it
        process.wait()
    return process.returncode, late


def _tail(path: Path, kilobytes: int) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1024 * kilobytes))
        return file.read().decode("utf-8", errors="replace")
