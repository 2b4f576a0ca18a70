#!/usr/bin/env python3
"""Draws faces for voices, seeds or stored codes. The same command is installed as `voice2style`."""

from voice2style.command_line import generate

if __name__ == "__main__":
    generate()
