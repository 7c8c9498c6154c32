"""Events → validated tables → point-in-time features → trained towers and ranker → evaluation."""
