"""`perf_analyzer` on each served model and on the whole ensemble: sweeps, Triton's own split, curves and a report.

`sweep` runs the real program once a point and reads Triton's statistics before and after it; `points` says what a point
is; `tables`, `plots` and `report` show them. How: `python -m perf analyze` beside a running stack.
"""
