"""Published protocols: `python -m training benchmark NAME`.

    load(folder) ─► problem ──────────► model.objective ─► study (--tune) ─► tuned/NAME.json
                 │     └──────────────► model.answer(given) ─► answer ─┐
                 └► judge, which alone knows the test labels ──────────┴─► figures, mean over the seeds

To add a protocol: a module in `protocols/` with a `Protocol`, and its place in `protocols/__init__`.
Its `load` reads a folder and returns the problem (any type: what to fit on, what validation says, what is asked) and
the judge, a function from an `Answer` to `{metric: value}`. No test label may be reached from the problem. Its models
are `Model`s: `answer` makes an `Answer` to what is asked from a `Given` (problem, parameters, seed, report, memo, a
folder for what may be kept); `objective` (optional, with `space` and `defaults`) says how good parameters are on
validation, higher is better. `Given.parameters` holds the parameters of every model of the protocol, so that a blend
finds those of its parts, and `Given.memo` what models and seeds share. Rankings have models and a judge ready:
`rankers/` and `ranking.py`.
"""  # fmt: skip
