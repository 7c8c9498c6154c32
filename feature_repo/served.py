"""What serving writes and training reads: two Redis streams and the words in them. Light.

Each entry of a stream has one field, `FIELD`, whose value is one compact JSON object. An impression is one answer, an
event is one thing a user did. Both carry `instance` and `seq`, which counts an instance's entries of that stream: a gap
is a loss, the same pair twice is the same entry.
"""

IMPRESSIONS = "log:impressions"
EVENTS = "log:events"
FIELD = b"d"

EVENT_TYPES = ("view", "click", "add_to_cart", "purchase", "favorite")
GRADES = {"view": 1, "click": 1, "add_to_cart": 2, "favorite": 2, "purchase": 3}
ENGAGED = ("click", "add_to_cart", "favorite", "purchase")  # a click or stronger
