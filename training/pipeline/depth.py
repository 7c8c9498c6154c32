"""How deep in a session a request came: the session's events before it."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as fn

SESSION = ("user_id", "session_id")


def with_depth(rows: DataFrame, actions: DataFrame) -> DataFrame:
    """Rows with `session_depth`: events of the same session strictly before the row's moment; 0 without a session."""
    asked = rows.filter("session_id is not null").select(*SESSION, "timestamp").distinct()
    acted = actions.filter("session_id is not null").select(*SESSION, "timestamp", fn.lit(1).alias("event"))
    moments = acted.unionByName(asked.withColumn("event", fn.lit(0))).withColumn("at", fn.unix_micros("timestamp"))
    before = Window.partitionBy(*SESSION).orderBy("at").rangeBetween(Window.unboundedPreceding, -1)
    counted = moments.withColumn("session_depth", fn.coalesce(fn.sum("event").over(before), fn.lit(0)))
    depths = counted.filter("event = 0").select(*SESSION, "timestamp", "session_depth")
    joined = rows.join(depths, [*SESSION, "timestamp"], "left")
    return joined.withColumn("session_depth", fn.coalesce("session_depth", fn.lit(0)).cast("int"))
