"""Application: the composition root, and what several commands share. Prints through the command line only."""
