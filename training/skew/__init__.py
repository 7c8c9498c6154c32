"""Skew: sampled requests as they were served, against what training makes of the same moments.

    requests   the raw inputs of sampled requests, from the collected log
    replay     the snapshot, history and context that training would have given each
    scores     the answering line's own graph and forest on the served inputs, for the items shown
    compare    the difference of every feature and score
    run        all of it: `python -m training skew`
"""  # fmt: skip

DAYS = 7  # of the log
