"""Fit of rules with the model in force, the detection threshold and the known devices: pure functions over what was
extracted when each was accepted.
"""
