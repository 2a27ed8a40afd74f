"""Health of devices: which of them are silent, flood, send invalid or identical pictures, or have a wrong clock.

Pure functions over counts and times; knows no ledger and no channel. docs/devices.md describes the method.
"""
