"""Seeded storms on the real command: kills, changes, clocks, disks, servers and a mail API that misbehave at once."""
