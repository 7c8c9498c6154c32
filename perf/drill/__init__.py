"""Faults on real processes: a whole stack, load on it, something broken on purpose, and what the answers were.

A drill is a function of the `Bench` (stack, users, load) and a `Report` that it fills: figures, and what did not hold.
`registry` lists them all; a family of faults is a module. On the command line: `python -m perf drill`.
"""
