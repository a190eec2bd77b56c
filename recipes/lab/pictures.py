"""The pictures of the README, from the page of a real run: two traces, and the frontier.

    make demo
    python recipes/lab/pictures.py out/demo/report.html docs/images

Needs Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH = 980


def shoot(style: str, body: str, out: Path, height: int) -> None:
    """A picture of a piece of the page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("error: no Chromium found. Install it, or leave the pictures as they are.")
    page = f'<meta charset="utf-8"><style>{style}\nbody{{padding:10px 16px}}</style><main>{body}</main>'
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(page, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1.5"]
        flags += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        flags += [f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{height}", f"--screenshot={out}"]
        subprocess.run([browser, *flags, source.as_uri()], check=True, capture_output=True, timeout=120)


def main(report: Path, out: Path) -> None:
    page = report.read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    traces = re.findall(r"<article class=\"trace.*?</article>", page, re.DOTALL)
    (figure,) = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(traces[1:3]).count("\n")
    shoot(style, "".join(traces[1:3]), out / "lab-trace.png", 120 + 21 * lines)
    shoot(style, figure, out / "lab-frontier.png", 640)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
