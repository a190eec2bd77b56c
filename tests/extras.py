"""Packages of the extras: a test that needs one is skipped without it, and says so; where CI=true it fails."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def needs(package: str, extra: str) -> Any:
    """The package; without it skip (fail in CI). At the head of a module, or in a test."""
    try:
        return importlib.import_module(package)
    except ImportError:
        reason = f'needs {package}: pip install "routewright[{extra}]"'
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
