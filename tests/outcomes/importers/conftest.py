"""Shared by the importer tests: fixture folders copied to a scratch place, and pickles written without pandas.

`pandas_pickle` writes the stream that pandas 1.5 to 2.3 writes: the same globals, the same states. The classes are
stand-ins under pandas' names, there only while pickling.
"""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

FIXTURES = Path(__file__).parent / "fixtures"


class DataFrame:
    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def __getstate__(self) -> dict[str, Any]:
        return {"_mgr": self.manager, "_typ": "dataframe", "_metadata": [], "attrs": {}, "_flags": {}}


class BlockManager:
    def __init__(self, blocks: Any, axes: Any) -> None:
        self.args = (tuple(blocks), axes)

    def __reduce__(self) -> Any:
        return BlockManager, self.args


class Block:
    def __init__(self, *args: Any) -> None:
        self.args = args

    def __reduce__(self) -> Any:
        return _unpickle_block, self.args


class Index:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return _new_Index, (type(self), self.state)


class RangeIndex(Index):
    pass


def _unpickle_block(*args: Any) -> Any: ...


def _new_Index(*args: Any) -> Any: ...


HOMES: dict[str, tuple[Any, ...]] = {
    "pandas.core.frame": (DataFrame,),
    "pandas.core.internals.managers": (BlockManager,),
    "pandas._libs.internals": (_unpickle_block,),
    "pandas.core.indexes.base": (_new_Index, Index),
    "pandas.core.indexes.range": (RangeIndex,),
}


@pytest.fixture
def pandas_pickle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, pl.DataFrame], None]:
    """Write a frame as pandas would: text in one block, numbers in another, with array and slice placements."""

    def save(path: Path, frame: pl.DataFrame) -> None:
        text = [i for i, dtype in enumerate(frame.dtypes) if dtype == pl.String]
        rest = [i for i in range(frame.width) if i not in text]
        blocks = [Block(np.array([frame[:, i].to_list() for i in text], dtype=object), np.array(text), 2)]
        blocks += [Block(frame[:, i].to_numpy()[None, :], slice(i, i + 1, 1), 2) for i in rest]
        labels = Index({"data": np.array(frame.columns, dtype=object), "name": None})
        rows = RangeIndex({"name": "idx", "start": 0, "stop": frame.height, "step": 1})
        with monkeypatch.context() as patch:
            for parent in ("pandas", "pandas.core", "pandas._libs", "pandas.core.internals", "pandas.core.indexes"):
                patch.setitem(sys.modules, parent, ModuleType(parent))
            for name, members in HOMES.items():
                module = ModuleType(name)
                for member in members:
                    patch.setattr(member, "__module__", name)
                    setattr(module, member.__name__, member)
                patch.setitem(sys.modules, name, module)
            path.write_bytes(pickle.dumps(DataFrame(BlockManager(blocks, [labels, rows])), protocol=5))

    return save


@pytest.fixture
def fixture_copy(tmp_path: Path, pandas_pickle: Callable[[Path, pl.DataFrame], None]) -> Callable[..., Path]:
    """Copy a format's fixtures, and build the binary files a case asks for from the written ones."""

    def copy(kind: str, build: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "in"
        shutil.copytree(FIXTURES / kind, folder)
        for target, source in (build or {}).items():
            written = folder / source
            frame = pl.read_csv(written) if written.suffix == ".csv" else pl.read_ndjson(written)
            (folder / target).parent.mkdir(exist_ok=True)
            if target.endswith(".pkl"):
                pandas_pickle(folder / target, frame)
            else:
                frame.write_parquet(folder / target)
        return folder

    return copy
