"""Sources of data: each reads its own files and writes the canonical raw tables."""
