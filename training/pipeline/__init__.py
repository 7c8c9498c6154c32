"""Raw tables → validated tables → point-in-time feature snapshots, examples and pairs, in Spark."""
