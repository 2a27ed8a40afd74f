"""The workflows of Argo, written with Hera and rendered to ``rendered/``, which is committed and what a cluster gets.

A module each; ``parts`` has what they share. They name images, commands, Secrets and parameters, nothing else: what a
stage does is not known here, and nothing of this is needed in a container. ``python -m workflows`` renders them.
"""
