"""The commands of `python -m perf`, a file each; heavy imports wait until a command runs."""
