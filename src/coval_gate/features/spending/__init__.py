"""A leg is paid for in slices (spend) until its answer is clear. Its base is that of a `repetition`."""
