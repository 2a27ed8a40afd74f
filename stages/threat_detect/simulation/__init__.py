"""Simulation of rules: what they would tell of pictures that a file lists. Sends nothing and needs no state folder."""
