"""An encoder whose extra or weights are not installed is skipped, or fails where CI=true."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routewright.encoders import Encoder, build_encoder
from routewright.errors import MissingExtra

Build = Callable[..., Encoder]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Exports go to a fresh folder, once a session, so the export is under test too."""
    before = os.environ.get("ROUTEWRIGHT_CACHE")
    os.environ["ROUTEWRIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield Path(os.environ["ROUTEWRIGHT_CACHE"])
    if before is None:
        del os.environ["ROUTEWRIGHT_CACHE"]
    else:
        os.environ["ROUTEWRIGHT_CACHE"] = before


@pytest.fixture(scope="session")
def build() -> Build:
    """`build_encoder`, or a skip that says what to install."""

    def build_or_skip(kind: str, **options: Any) -> Encoder:
        try:
            return build_encoder(kind, options)
        except MissingExtra as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))

    return build_or_skip
