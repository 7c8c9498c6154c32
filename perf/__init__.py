"""Measurements: perf_analyzer on the served models, load on the REST API, the forest engine beside LightGBM."""
