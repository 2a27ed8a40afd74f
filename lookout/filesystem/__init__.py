"""File system access for stores and sources: careful names, whole reads, paths resolved below a root."""
