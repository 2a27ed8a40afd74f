"""Development kit: contract suites, fakes, real servers and a toy pipeline. Not installed, in no image, not hashed."""
