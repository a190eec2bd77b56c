"""The command line: one file per verb. Bad input ends in one line on standard error and exit code 2."""

from __future__ import annotations

import sys
from typing import Any, NoReturn


def main() -> None:
    """Entry point of the `routewright` command."""
    import typer

    from routewright.cli.app import app
    from routewright.errors import RoutewrightError

    # Typer's own usage errors: Click's, or those of the copy of Click that newer Typers carry.
    usage_error: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    command = typer.main.get_command(app)
    try:
        code = command.main(_spread(sys.argv[1:]) or ["--help"], prog_name="routewright", standalone_mode=False)
    except RoutewrightError as error:
        _fail(str(error))
    except usage_error as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "routewright"
        _fail(f"{error.format_message().rstrip('.')}. See: {path} --help")
    except OSError as error:
        if error.filename is None:
            raise  # not about a path somebody gave
        _fail(f"{error.filename}: {error.strerror}. Expected a path that can be read, or written for --out.")
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    else:
        if code == 130:  # newer Typers turn an interruption into this code
            _interrupted()
        if isinstance(code, int) and code:
            raise SystemExit(code)


def _spread(arguments: list[str]) -> list[str]:
    """`--test A B` as `--test A --test B`: the option takes every path up to the next option.

    >>> _spread(["evaluate", "t", "--test", "a", "b", "--out", "o"])
    ['evaluate', 't', '--test', 'a', '--test', 'b', '--out', 'o']
    """
    spread: list[str] = []
    inside = False
    for word in arguments:
        if word.startswith("-"):
            inside = word == "--test"
        elif inside and spread[-1] != "--test":
            spread.append("--test")
        spread.append(word)
    return spread


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2) from None


def _interrupted() -> NoReturn:
    print("interrupted; run the same command again to go on where it stopped", file=sys.stderr)
    raise SystemExit(130) from None
