"""`python -m surgrad`: the command line."""

from surgrad.cli import program

if __name__ == "__main__":
    program()
