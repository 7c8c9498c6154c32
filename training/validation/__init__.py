"""Raw tables → clean tables, a quarantine with reasons, a report to look at and its figures as metrics."""
