"""Domain: records, errors, identities and the types of a pipeline. Imports nothing of the other packages."""
