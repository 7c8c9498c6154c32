"""What a feature is: the schema, the row-to-array code, and Feast's entities and views."""
