"""The far side of `sandbox`: sets limits on itself, then runs one program. Started by path, imports nothing of ours.

Arguments: program, user id or -1, MB of memory, MB a file, open files, processes, CPU seconds. One line of standard
input is a token, printed after the program's last line: the sign that it got there.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Any

_REFUSED = (
    "os.fork",
    "os.forkpty",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "os.kill",
    "os.killpg",
    "subprocess.Popen",
)
_CHANGES = (
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink"),
    *("os.truncate", "os.utime", "os.setxattr", "shutil.rmtree", "shutil.move"),
)
_MODULES = ("ctypes", "_ctypes", "_posixsubprocess", "cffi", "multiprocessing")


def _limit(memory_mb: int, file_mb: int, files: int, processes: int, cpu_s: int) -> None:
    wanted = {
        resource.RLIMIT_AS: memory_mb << 20,
        resource.RLIMIT_FSIZE: file_mb << 20,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_CORE: 0,
    }
    if processes:
        wanted[resource.RLIMIT_NPROC] = processes
    for name, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit on address space
            resource.setrlimit(name, (value, value))


def _guard(folder: str) -> None:
    allowed = (folder + os.sep, "/dev/null")
    real, absent = os.path.realpath, (None, -1)

    def inside(path: Any) -> bool:
        if isinstance(path, int) or path in absent:
            return True
        where = real(os.fsdecode(path))
        return where == folder or where.startswith(allowed)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            if writes and not inside(path):
                raise PermissionError(f"the sandbox refuses to write {path!r}")
        elif event == "import" and args[0].partition(".")[0] in _MODULES:
            raise ImportError(f"the sandbox refuses {args[0]}")
        elif (
            event in _REFUSED
            or event.startswith(("socket.connect", "socket.bind", "socket.send", "ctypes."))
            or (
                event in _CHANGES
                and not all(inside(path) for path in args if isinstance(path, (str, bytes, os.PathLike)))
            )
        ):
            raise PermissionError(f"the sandbox refuses {event}")

    sys.addaudithook(hook)


def main() -> None:
    """Limit this process, run the program, print the token."""
    path, *numbers = sys.argv[1:]
    user, memory_mb, file_mb, files, processes, cpu_s = map(int, numbers)
    token = sys.stdin.readline()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with open(path, encoding="utf-8") as file:
        source = file.read()
    sys.argv = ["program.py"]
    if user >= 0:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    # The limit on processes counts all of a user's, so it makes sense for a user of its own only.
    _limit(memory_mb, file_mb, files, processes if user >= 0 else 0, cpu_s)
    _guard(os.path.realpath(os.getcwd()))
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    exec(compile(source, "program.py", "exec"), names)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, f"\n{token}".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
