"""Object store in a folder of plain files."""
