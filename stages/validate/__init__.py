"""The first stage: it checks whether each uploaded file is a complete, usable photograph, and why not."""
