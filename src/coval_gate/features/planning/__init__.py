"""What a step would do (mode plan), and what its runs can decide: by `confidence`, `comparisons` and `spending`.

Uses `advice` on ids, and lists `known_failures`.
"""
