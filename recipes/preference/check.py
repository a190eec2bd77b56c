"""Write the part of the labelled set that was read one by one: the first 66 test conversations of seed 0.

    python recipes/preference/check.py

What was found wrong is corrected in `phrases.toml`, never in this file, so that all other conversations gain too; a test
compares it with what the generator makes, so a change of a phrase means reading again.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from conversations import HERE, conversations, write

CHECKED = 66


def checked() -> list[dict[str, object]]:
    """Those conversations, marked."""
    return [{**one, "checked": True} for one in conversations("test", 640, 0)[:CHECKED]]


if __name__ == "__main__":
    write(HERE / "checked.jsonl", checked())
