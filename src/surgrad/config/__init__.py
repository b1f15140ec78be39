"""Configuration: what a recipe is, checked and read without torch."""
