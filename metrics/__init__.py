"""Judges pictures: arrays in, numbers out. A model reaches a metric as a plain function."""
