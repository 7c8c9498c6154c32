"""`python -m perf ranker`."""

from deploy.settings import load_settings
from perf.console import Json, finish, show


def ranker(as_json: Json = False) -> None:
    """The served forest engine beside `lightgbm predict`, one thread each."""
    from perf.ranker import compare

    result = compare(load_settings())
    show([result])
    finish(result, as_json)
