"""The pickle reader: data comes through, everything else is refused before it runs."""

from __future__ import annotations

import builtins
import os
import pickle
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.extras import needs

from routewright.errors import TableError
from routewright.outcomes.importers import import_outcomes, pickles
from routewright.outcomes.importers.pickles import ALLOWED, _Type, _values, read_frame

WIDE = {
    "sample_id": ["a", "b"],
    "prompt": ["p", "q"],
    "eval_name": ["e", "e"],
    "m": [1.0, 0.0],
    "m|total_cost": [0.1, 0.2],
}


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> Any:
        return self.reduced


def named(module: str, name: str) -> bytes:
    """Opcodes that push a global."""
    return b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name)) + b"\x93"


def test_columns_come_back_as_they_were(pandas_pickle: Callable[..., None], tmp_path: Path) -> None:
    frame = pl.DataFrame({**WIDE, "n": [3, None]}, strict=False).with_columns(pl.col("n").fill_null(4))
    pandas_pickle(tmp_path / "f.pkl", frame)
    assert read_frame(tmp_path / "f.pkl") == frame.to_dict(as_series=False)


def test_real_pandas_reads_alike(tmp_path: Path) -> None:
    pandas = needs("pandas", "dev")
    if pandas.__version__ >= "3":
        pytest.skip("pandas 3 stores text in a type of its own; such files are refused with the way to convert them")
    for protocol in (2, 3, 4, 5):
        pandas.DataFrame(WIDE).to_pickle(tmp_path / "f.pkl", protocol=protocol)
        assert read_frame(tmp_path / "f.pkl") == WIDE


@pytest.mark.parametrize(
    ("payload", "culprit"),
    [
        (Call(os.system, "touch pwned"), "system"),
        (Call(builtins.eval, "open('pwned', 'w')"), "eval"),
        (Call(builtins.getattr, "x", "upper"), "getattr"),
        (Call(subprocess.Popen, ["touch", "pwned"]), "Popen"),
        (Call(pickle.loads, b"."), "pickle.loads"),
        ({"deep": [(1, {"in": Call(os.system, "touch pwned")})]}, "system"),
        (Call(np.fromfile, "/etc/passwd"), "numpy.fromfile"),
        (Call(np.load, "x.npy"), "numpy.load"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_foreign_global_is_refused_and_not_run(
    payload: object, culprit: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pkl").write_bytes(pickle.dumps(payload, protocol=protocol))
    with pytest.raises(TableError, match=f"names .*{culprit}.*nothing was run"):
        import_outcomes("routerbench", "evil.pkl", "out.parquet")
    assert [p.name for p in Path().iterdir()] == ["evil.pkl"]


def test_a_nested_reduce_inside_a_real_frame_is_refused(
    pandas_pickle: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pandas_pickle(Path("f.pkl"), pl.DataFrame(WIDE))
    honest = Path("f.pkl").read_bytes()
    # A call that is made and thrown away, before the honest frame is returned.
    call = named("posix", "system") + b"\x8c\x0btouch pwned\x85R0"
    Path("f.pkl").write_bytes(honest[:2] + call + honest[2:])
    with pytest.raises(TableError, match=r"posix\.system"):
        read_frame(Path("f.pkl"))
    assert not Path("pwned").exists()


def test_the_allow_list_holds_stand_ins_only() -> None:
    foreign = {key for key, value in ALLOWED.items() if value.__module__ != pickles.__name__}
    assert foreign == {("builtins", "slice"), ("__builtin__", "slice")}


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(named("numpy", "ndarray") + b"K\x01\x85\x8c\x01O\x87R", id="array called with a buffer"),
        pytest.param(named("numpy", "dtype") + b"\x8c\x02V8\x85R", id="structured type"),
        pytest.param(named("pandas.core.frame", "DataFrame") + b"N}\x8c\x04_mgrK\x01s\x86b", id="class changed"),
        pytest.param(
            named("numpy._core.numeric", "_frombuffer")
            + b"(C\x08\x00\x00\x00\x00\x00\x00\x00\x00"
            + named("numpy", "dtype")
            + b"\x8c\x02O8\x85RK\x01\x85\x8c\x01CtR",
            id="objects from bytes",
        ),
        pytest.param(named("numpy._core.numeric", "_frombuffer") + b"N}\x8c\x03runK\x01s\x86b", id="function changed"),
        pytest.param(b"]r\xff\xff\xff\x7f", id="memo of gigabytes"),
        pytest.param(b"\x96" + (2**40).to_bytes(8, "little"), id="bytes of a terabyte"),
        pytest.param(b"]" + b"]a" * 3, id="a list"),
        pytest.param(b"}", id="a dictionary"),
    ],
)
def test_forged_state_is_refused(code: bytes, tmp_path: Path) -> None:
    (tmp_path / "f.pkl").write_bytes(b"\x80\x04" + code + b".")
    with pytest.raises(TableError) as caught:
        read_frame(tmp_path / "f.pkl")
    assert "\n" not in str(caught.value)
    assert pickles._Frame._mgr is None


def test_byte_order_is_heeded() -> None:
    kind = _Type("f8")
    kind.__setstate__((3, ">", None, None, None, -1, -1, 0))
    assert _values(np.array([0.1, 0.2], dtype=">f8").tobytes(), kind, (2,), "C").tolist() == [0.1, 0.2]


def test_random_damage_never_ends_in_anything_but_an_error(pandas_pickle: Callable[..., None], tmp_path: Path) -> None:
    """With NumPy's own state setters in place of the stand-ins this crashed the interpreter."""
    path = tmp_path / "f.pkl"
    pandas_pickle(path, pl.DataFrame(WIDE))
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(800):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[at] = rng.randrange(256)
            else:
                del data[at : at + rng.randint(1, 9)]
        path.write_bytes(data)
        try:
            read_frame(path)
        except TableError:
            refused += 1
    assert refused > 400


def test_a_truncated_pickle_is_refused(pandas_pickle: Callable[..., None], tmp_path: Path) -> None:
    pandas_pickle(tmp_path / "f.pkl", pl.DataFrame(WIDE))
    data = (tmp_path / "f.pkl").read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "f.pkl").write_bytes(data[:length])
        with pytest.raises(TableError):
            read_frame(tmp_path / "f.pkl")
