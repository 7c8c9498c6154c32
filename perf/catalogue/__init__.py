"""Catalogues of any size without training: honest vectors, real rows, the newest line, a release like any other.

`vectors` draws item vectors from a mixture fitted on the item tower's own; `source` gives them rows, ids and what an
answer shows; `make` builds a release from it in a workspace of its own, `measure` serves it and looks.
"""
