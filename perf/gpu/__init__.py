"""The GPU suite: candidates, ranker, towers and the whole path on any CUDA machine, and on a CPU."""
