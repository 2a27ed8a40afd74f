"""Lookout: photographs that devices upload become alerts, and every alert can be proved."""

__version__ = "0.1.0"
