"""Uploader of a device's files and folders to a bucket."""
