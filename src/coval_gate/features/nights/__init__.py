"""The newest runs of each leg side by side (mode history). `comparisons` finds them, the page looks as of `files`.

Its cases are marked as `known_failures`.
"""
