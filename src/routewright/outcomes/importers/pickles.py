"""A pickled pandas data frame as plain columns, with no pandas and nothing of the file's choosing executed.

A pickle is a program. Here every global it may name is on a short list, and what stands behind each name is neither
pandas nor NumPy but a stand-in of this file that only keeps data: frames, blocks, indexes, arrays, types. Another name
is refused before anything is built. The stand-ins matter as much as the list: the state setters of NumPy's own arrays
and types, and the block code of pandas, trust a pickle, and a forged state makes them read memory they should not.

Reads what pandas 1.3 to 2 writes (`_unpickle_block`), as the published files are. For others: open the file with
pandas where you trust it, and save Parquet.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from routewright.errors import TableError
from routewright.outcomes.importers.reading import first_line

CONVERT = "python -c \"import pandas as pd; pd.read_pickle('FILE.pkl').to_parquet('FILE.parquet')\""

_PLAIN = frozenset(["O", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])


class _Sealed(type):
    """A pickle can set attributes on whatever it names; on the stand-ins it must not."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TableError(f"The pickle changes {cls.__name__}.{name[:40]}. Expected plain data; nothing was run.")


class _Call(metaclass=_Sealed):
    """A function that a pickle can call and not change."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        object.__setattr__(self, "run", run)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TableError(f"The pickle changes a function's {name[:40]}. Expected plain data; nothing was run.")

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)  # type: ignore[attr-defined]


class _Frame(metaclass=_Sealed):
    """In place of `DataFrame`: its state is a dictionary with the block manager under `_mgr`."""

    _mgr: Any = None


class _Blocks(metaclass=_Sealed):
    """In place of `BlockManager`: blocks, and the labels of both axes (columns first)."""

    def __init__(self, blocks: Any = (), axes: Any = (), *rest: Any) -> None:
        self.blocks, self.axes = blocks, axes


class _Index(metaclass=_Sealed):
    """In place of an index class; `_new_index` keeps its labels."""


class _Type(metaclass=_Sealed):
    """In place of `dtype`: a letter with a size, and the byte order, which comes as state."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        plain = str(code).lstrip("<>=|")
        self.code, self.order = "O" if plain == "O8" else plain, "<"
        if self.code not in _PLAIN:
            raise TableError(f"The pickle holds data of type {str(code)[:40]!r}. Expected text and numbers.")

    def __setstate__(self, state: Any) -> None:
        _, order, *parts = state
        if any(part is not None for part in parts[:3]) or order not in ("<", ">", "=", "|"):
            raise TableError("The pickle holds data of a composite type. Expected text and numbers.")
        self.order = order


class _Array(metaclass=_Sealed):
    """In place of `ndarray`."""

    values: Any = None

    def __setstate__(self, state: Any) -> None:
        *_, shape, kind, by_column, data = state
        self.values = _values(data, kind, shape, "F" if by_column else "C")


def _values(data: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Cells of an array from a list (objects) or from bytes (numbers), checked against its shape."""
    if not isinstance(kind, _Type) or order not in ("C", "F"):
        raise TableError("The pickle holds an array without a plain type. Is the file whole?")
    if kind.code != "O":
        flat = np.frombuffer(bytes(data), dtype=np.dtype(kind.order + kind.code))
    elif isinstance(data, list):
        flat = np.fromiter(data, dtype=object, count=len(data))
    else:
        raise TableError("The pickle holds objects that are no list. Expected plain data; nothing was run.")
    return flat.reshape(tuple(int(n) for n in shape), order=order)


def _new_index(kind: Any, state: Any) -> list[Any] | None:
    data = state.get("data")
    if data is None:
        return None  # a range of row numbers: nothing we read
    return list(data.values.tolist() if isinstance(data, _Array) else data)


def _frombuffer(data: Any, kind: Any, shape: Any, order: Any, *rest: Any) -> _Array:
    array = _Array()
    array.values = _values(data, kind, shape, order)
    return array


ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,  # as pickles before protocol 3 call it
    ("_codecs", "encode"): _Call(lambda text, *encoding: bytes(text, "latin1")),  # how those write bytes
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas._libs.internals", "_unpickle_block"): _Call(lambda values, places, ndim=2: (values, places)),
    ("pandas.core.indexes.base", "_new_Index"): _Call(_new_index),
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
    ("pandas.core.indexes.numeric", "Int64Index"): _Index,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Call(lambda kind, shape, code: _Array())
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _Call(_frombuffer)
    ALLOWED[f"{_core}.multiarray", "scalar"] = _Call(lambda kind, data: _values(data, kind, (1,), "C").tolist()[0])


class _Stream:
    """The two methods that unpickling needs, with no memory set aside for more than the file holds."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size

    def read(self, length: int) -> bytes:
        return self._stream.read(min(length, self._size))

    def readline(self) -> bytes:
        return self._stream.readline()


class _Unpickler(pickle.Unpickler):
    """Resolves the names of `ALLOWED` to their stand-ins and imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise TableError(
                f"The pickle names {module}.{name}"[:160]
                + ", which is no part of a plain data frame; nothing was run. "
                f"If you trust the file, convert it: {CONVERT}"
            )
        return ALLOWED[module, name]


def read_frame(file: Path) -> dict[str, list[Any]]:
    """The columns of a pickled data frame, by name.

    Raises:
        TableError: A global that is not allowed, no data frame, two columns of one name, a damaged file.
    """
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            _check_sizes(_Stream(stream, size), size)
            stream.seek(0)
            return _columns(_Unpickler(_Stream(stream, size)).load())
    except TableError as error:
        raise TableError(f"{file}: {error}") from None
    except Exception as error:  # a forged or damaged pickle can raise anything from the stand-ins
        raise TableError(
            f"{file} can not be read as a pickled data frame ({type(error).__name__}: "
            f"{first_line(error)[:80]}). "
            f"Is the file whole? If you trust it, convert it: {CONVERT}"
        ) from None


def _check_sizes(stream: Any, size: int) -> None:
    """Walk over the pickle without running it: forged lengths and memo numbers would claim memory unread."""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > size:
            raise TableError(f"The pickle numbers an object {argument}, but has {size} bytes. Is the file whole?")


def _columns(frame: Any) -> dict[str, list[Any]]:
    blocks = getattr(frame, "_mgr", None)
    if not isinstance(frame, _Frame) or not isinstance(blocks, _Blocks):
        raise TableError(
            f"The pickle holds {type(frame).__name__}, no data frame that is understood. Convert it: {CONVERT}"
        )
    names = [str(name) for name in blocks.axes[0]]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise TableError(f"Two columns are called {twice[0][:80]!r}. Expected each name once; rename one.")
    columns: dict[str, list[Any]] = {}
    for values, placement in blocks.blocks:
        rows = values.values
        places = list(range(len(names))[placement]) if isinstance(placement, slice) else placement.values.tolist()
        if rows.ndim != 2 or len(places) != len(rows):
            raise TableError(f"A block of shape {rows.shape} stands for {len(places)} columns. Is the file whole?")
        for place, row in zip(places, rows, strict=True):
            columns[names[place]] = [_cell(value) for value in row.tolist()]
    lengths = {len(column) for column in columns.values()}
    if set(columns) != set(names) or len(lengths) != 1:
        raise TableError("The data frame has columns without values. Is the file whole?")
    return {name: columns[name] for name in names}


def _cell(value: Any) -> Any:
    """A value that stays small as text: shared nested lists could unfold into more than the machine holds."""
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return list(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TableError(f"A cell holds {type(value).__name__}. Expected text, numbers, or lists of text.")
