"""How far what the ranker sees, and what it answers, has moved from what a line was trained on."""
