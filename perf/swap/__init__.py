"""Releases swapped under load: what it costs the answers, and whether any answer is of two releases at once.

`pair` makes two releases that cannot be mixed unnoticed: their embedding spaces are rotated against each other, and
every item id carries its release's stamp. `check` reads each answer, `run` swaps them to and fro, `cycle` says what
that cost. On the command line: `python -m perf swap`.
"""
