"""The newest runs of each leg side by side (mode history), found as those of `given`, and by `comparisons`.

The page looks as of `files`; its cases are marked as `known_failures`.
"""
