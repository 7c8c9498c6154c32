"""The daily run: a new day's data becomes a challenger that a share of the users sees, or a reason why not.

    keep ── ingest ── volume ── validate ── quality ── features ── materialize ── drift
              └───────── a bad day: put back what was kept, say why ──┘
         train ── gate ── refit ── track ── publish ── canary ── report

Every step is a child process or a few file operations, and its end is written to `daily/<day>/state.json`: killed
anywhere, the next run goes on with the first step that has not ended.
"""  # fmt: skip
