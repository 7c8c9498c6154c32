"""What an item's title and image say, as vectors: encoded once for each text, cached, reduced for the ranker."""
