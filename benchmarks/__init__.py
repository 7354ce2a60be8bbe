"""Measures Berth and its rivals: `make bench`.

A package with this file, because fairscale installs one of the same name.
"""
