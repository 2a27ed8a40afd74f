"""Measurements of Lookout's speed, beside the bars that it is built to hold; methods in docs/benchmarks.md.

Not installed and not tests: a bar that is missed is printed as ``over`` and fails nothing. Nothing outside may import
from here.
"""
