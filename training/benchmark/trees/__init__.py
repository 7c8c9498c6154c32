"""Rankers of the product's shape: LightGBM over features that know only what came before; one module of features a set."""
