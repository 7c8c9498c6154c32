"""Watching a canary: `judge` decides from two tallies, `window` collects them from the heartbeats, `controller` rolls
back and says why, `ramp` grows the share while that does not happen, `exposures` checks who was really sent where.
"""
