"""Triton's models: one tensor contract, and the config.pbtxt files generated from it."""
