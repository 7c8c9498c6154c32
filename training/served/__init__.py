"""The log of serving, from Redis Streams to what training ingests: `python -m training collect`.

    entries    one JSON object → canonical rows, or why not
    sequence   an instance's running numbers: what is missing, what came twice
    streams    a consumer group on a stream: read, acknowledge, trim
    parts      Parquet by day: a batch's files, one file a day in the end
    progress   what is on disk for good; everything beyond it is read again
    collect    all of it, batch by batch
    merge      the collected days beside a source's raw tables

A batch is written, committed, acknowledged, in this order. Killed anywhere, the next run removes what was not committed
and reads it again, since Redis keeps what nobody acknowledged.
"""  # fmt: skip

BEAT_S = 30.0  # between two looks
