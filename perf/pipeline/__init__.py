"""The data pipeline at growing sizes: seconds, peak memory, and whether time grows linearly."""
