"""How Trident runs: settings, local runtime, Triton backends."""
