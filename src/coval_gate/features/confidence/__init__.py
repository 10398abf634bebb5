"""Confidence: what a run shows of the agent, how an answer is decided by it, and how it reads."""
