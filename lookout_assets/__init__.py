"""Data that is installed with Lookout: the default model, sample photographs and sample rules.

The folders are links to those at the top of the repository. sdist and wheel hold what they lead to, so that a clone and
an installation find the same files at the same place.
"""
