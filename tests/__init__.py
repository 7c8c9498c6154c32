"""Tests mirror the top-level folders; `e2e` starts the real servers."""
