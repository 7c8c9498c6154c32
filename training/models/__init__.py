"""The models: two towers, the assembler, and one forest for three objectives."""
