"""What the system must be told so that a server starts alone and leaves nothing. Standard library only."""
