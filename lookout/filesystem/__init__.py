"""File system access for stores and sources: safe names, whole reads, paths resolved below a root."""
