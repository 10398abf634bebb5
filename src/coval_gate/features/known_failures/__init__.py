"""Known failures: test cases that decide nothing until a day (known_failures). Uses `comparisons`."""
