"""The journal: what is committed stays, nothing comes twice, and another collection is refused."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from routewright.collect.journal import Journal, Lost, Row, journal_path
from routewright.errors import ConfigError, TableError
from routewright.pools.budget import PICO

FACTS = {"queries": "3", "price of a": 1.0}


def row(cell: int, failed: bool = False, spent: int = 5, text: str | None = "yes") -> Row:
    return Row(cell, 0.5, failed, "", 1, 2, "provider", 0.25, spent, 0.1, None, text)


def put(journal: Journal, *rows: Row, intents: list[tuple[int, int]] | None = None) -> None:
    async def work() -> None:
        for intent in intents or []:
            journal.put(intent=intent)
        await asyncio.gather(*(journal.write(r) for r in rows))
        await journal.flush()

    asyncio.run(work())


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "j"
    rows = [row(2, text="a\x00b \N{GRINNING FACE}"), row(0, text=None), row(1, failed=True)]
    with Journal.open(path, FACTS) as journal:
        put(journal, *rows)
    with Journal.open(path, FACTS) as journal:
        assert list(journal.rows()) == sorted(rows, key=lambda r: r.cell)
        assert journal.done(4) == (bytearray([1, 1, 1, 0]), 1)
        assert journal.counts() == (3, 1)
        assert [f[0] for f in journal.figures()] == [0, 1, 2]


def test_a_row_never_comes_twice(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", FACTS) as journal:
        put(journal, row(1))
        with pytest.raises(sqlite3.IntegrityError):
            put(journal, row(1))
        assert journal.counts() == (1, 0)


def test_intents_without_a_row_count_as_spent(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", FACTS) as journal:
        put(journal, intents=[(0, 70), (1, 100), (2, 1000)])
        put(journal, row(0, spent=7))
        assert journal.spent_pico() == 7
    for _ in range(2):  # settling again changes nothing
        with Journal.open(tmp_path / "j", FACTS) as journal:
            assert journal.settle_lost() == Lost(2, 1100 / PICO)
            assert journal.spent_pico() == 1107


def test_what_was_put_aside_stays_spent(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", FACTS) as journal:
        put(journal, row(0, spent=7), row(1, failed=True, spent=11), intents=[(2, 100)])

        async def aside() -> None:
            await journal.write(aside=(2, 13))

        asyncio.run(aside())
        assert journal.forget_failed() == 1
        assert (journal.counts(), journal.spent_pico()) == ((1, 0), 31)
        assert journal.settle_lost().calls == 0


def test_many_writers_share_commits(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", FACTS) as journal:
        commits = []
        commit = journal._commit
        journal._commit = lambda *work: (commits.append(len(work[0])), commit(*work))[1]  # type: ignore[method-assign]
        put(journal, *[row(i) for i in range(1000)])
        assert sum(commits) == 1000
        assert len(commits) < 20


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({**FACTS, "price of a": 2.0}, ["price of a: now 2.0, then 1.0", "--out"]),
        ({"queries": "4", "price of a": 1.0}, ["queries: now '4', then '3'"]),
        ({"queries": "3"}, ["price of a: now '(none)'"]),
        ({**FACTS, "samples": 2}, ["samples: now 2, then '(none)'"]),
    ],
)
def test_another_collection_is_refused(facts: dict[str, object], words: list[str], tmp_path: Path) -> None:
    Journal.open(tmp_path / "j", FACTS).close()
    with pytest.raises(ConfigError) as refusal:
        Journal.open(tmp_path / "j", facts)
    assert all(word in str(refusal.value) for word in words), refusal.value
    Journal.open(tmp_path / "j", FACTS).close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from routewright.collect.journal import Journal\n"
        "try: Journal.open(__import__('pathlib').Path(sys.argv[1]), {'queries': '3', 'price of a': 1.0})\n"
        "except Exception as error: print(error); sys.exit(3)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "j")]
    with Journal.open(tmp_path / "j", FACTS):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode, "in use" in ran.stdout) == (3, True), ran.stdout
    assert subprocess.run(command, check=False).returncode == 0


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"not a database at all, but long enough to be read as one" * 30)
    with pytest.raises(ConfigError, match="read as a journal"):
        Journal.open(tmp_path / "j", FACTS)
    with pytest.raises(ConfigError, match="can not be made"):
        Journal.open(tmp_path / "no folder" / "j", FACTS)


def test_a_journal_of_another_form_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j", FACTS).close()
    db = sqlite3.connect(tmp_path / "j")
    db.execute("update meta set value = 99 where key = 'form'")
    db.commit()
    db.close()
    with pytest.raises(TableError, match="form 99"):
        Journal.open(tmp_path / "j", FACTS)


def test_removed_without_a_trace(tmp_path: Path) -> None:
    journal = Journal.open(journal_path(tmp_path / "t.parquet"), FACTS)
    put(journal, row(1))
    journal.remove()
    assert list(tmp_path.iterdir()) == []
