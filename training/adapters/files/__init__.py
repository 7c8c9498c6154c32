"""The user's own data, already in the canonical columns, of any size: read by Spark, by day where it comes in days.

    storage    list and open what Spark's connectors reach
    layout     which files make which table, which day
    shapes     the columns of every file, without reading it
    typed      text and numbers → canonical types; what does not convert is kept and marked
    partitions what an earlier run has read, so that a run reads only what is new
    ingest     all of it: folder → settings.raw
"""  # fmt: skip

NAME = "files"
OVERLAP = 7  # days before the newest that are read again, because events arrive late
