"""Uploader: brings files and folders of a device into a bucket."""
