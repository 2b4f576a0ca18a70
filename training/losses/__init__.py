"""Objectives, each in its standard form (method.md's table): one file a family, one function an equation."""
