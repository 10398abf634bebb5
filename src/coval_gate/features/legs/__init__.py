"""Several legs in one step (several ids, or a file): compared together, as `comparisons` does.

The file also has `known_failures`, and its slips get `advice`.
"""
