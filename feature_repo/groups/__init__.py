"""The features themselves, one file for each group, in column order."""
