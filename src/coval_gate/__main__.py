"""`python -m coval_gate` is the command `coval-gate`."""

from coval_gate.cli.command import command

if __name__ == "__main__":
    command()
