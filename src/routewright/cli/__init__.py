"""The command line: one file per verb. Bad input ends in one line on standard error and exit code 2."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `routewright` command."""
    from routewright.cli.app import app
    from routewright.errors import RoutewrightError

    try:
        app()
    except RoutewrightError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on where it stopped", file=sys.stderr)
        raise SystemExit(130) from None
