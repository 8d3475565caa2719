"""The definition of every kernel, in Python integers."""
