"""The first stage: decides of each uploaded file whether it is a whole, usable photograph, and why not."""
