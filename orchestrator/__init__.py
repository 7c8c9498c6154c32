"""One request: feature fetch → (user tower) → Triton: candidates, assemble, ranker → rules → response.

Run with `python -m orchestrator serve`. `recommend.py` is the path of a request; start reading there.
"""
