"""What Trident is compared with, each a program that answers the same request or does the same stage.

Whole path, servers on the same route, release and Redis (`python -m perf.peers NAME`):
naive                the textbook path: FastAPI, threads, synchronous Redis, Feast for 500 items, FAISS, LightGBM
monolith             the orchestrator itself with the served kernels in its own process instead of Triton
monolith-lightgbm    the same with `Booster.predict`

Stages: `forests` ranks one request's candidates on other engines, `item_stores` reads their features in other ways.
"""

NAIVE, MONOLITH, MONOLITH_LIGHTGBM = "naive", "monolith", "monolith-lightgbm"
SERVERS = (NAIVE, MONOLITH, MONOLITH_LIGHTGBM)
