"""The command of the stage's container."""

from stages.command import main

if __name__ == "__main__":
    main("plot")
