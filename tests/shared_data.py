"""Where the real recorded outcomes are, for the tests that use them.

They may not be shipped with the project. Without them those tests are skipped, and say so; where CI=true they fail.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_table(name: str) -> Path:
    """Path of one recorded table, or skip (fail in CI)."""
    path = SHARED / f"{name}.parquet"
    if not path.exists():
        reason = f"needs the recorded outcomes {name}.parquet beside the checkout (../shared/data)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
