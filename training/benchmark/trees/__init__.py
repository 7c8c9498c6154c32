"""Rankers of the product's shape: LightGBM over features that know only what came before."""
