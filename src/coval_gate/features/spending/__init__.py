"""A leg is paid for in slices (spend) until its answer is clear.

Uses the bounds of `confidence`, what `comparisons` cannot compare yet, and `repetition`.
"""
