"""Capacity: what a target load needs, from costs measured on a running stack and a queueing model.

profile   what was measured: CPU per request by role, bytes, spread of service times
fit       the measurements of a calibration → coefficients, by non-negative least squares
model     queueing formulas; `bulk` batch service on a GPU, `shared` a whole stack on few cores
demand    what is asked for: load, limit, catalogue, users, spare capacity; `built` indexes that a catalogue run made
replica   a Triton replica's instances and cores; `gpu`, `curves` its GPU, as data sheets or measurements say
size      demand and profile → replicas, memory, what binds, latency
calibrate, validate   measure a profile, and check it on settings it has not seen
sweep, report, page   what-if tables, the terminal's and the HTML report
"""
