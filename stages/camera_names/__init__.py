"""Names of pictures as cameras, recorders and phones write them: device, time and number from a path.

Pure and light: planning reads the name of every key. Knows no ledger and reads no file.
"""
