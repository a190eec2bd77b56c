"""Judging policies on recorded outcomes: cross-fitting, replay, measures with intervals, the report.

    from routewright.evaluate.tables import plan
    from routewright.evaluate.run import evaluate
    from routewright.evaluate.report import build

`tables.py` decides what is judged on what, `crossfit.py` fits, `replay.py` replays, `judge.py` measures, `report.py` and
`page.py` tell. Not here: the policies (`scorers/`).
"""
