"""Lowering rules, one file a family; every file in this folder is found by itself."""
