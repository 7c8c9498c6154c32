"""The log of serving: two Redis streams that orchestrators write and `python -m training collect` reads.

Every entry of a stream has one field, a compact JSON object. docs/data.md says what the objects hold.
"""

IMPRESSIONS = "log:impressions"
EVENTS = "log:events"
FIELD = b"d"
