"""Models that rank items: simple ones by counting, linear ones, the two towers, and blends of them."""
