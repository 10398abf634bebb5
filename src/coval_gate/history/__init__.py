"""Searches Coval's runs: baselines, the newest, earlier attempts, tags."""
