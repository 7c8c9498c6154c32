"""The watchdog of one Triton: canary questions to every model version, and what broke is loaded again by itself."""
