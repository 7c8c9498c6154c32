"""The commands of `python -m exporters`, by what they are about."""
