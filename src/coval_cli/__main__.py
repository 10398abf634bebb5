"""`python -m coval_cli` is the command `coval-gate`."""

from coval_cli.command import command

command()
