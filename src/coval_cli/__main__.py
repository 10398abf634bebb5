"""`python -m coval_cli` is the command `coval-gate`."""

from coval_cli.command import command

if __name__ == "__main__":
    command()
