"""Several legs in one step (several ids, or a file): compared together, as `comparisons` compares one."""
