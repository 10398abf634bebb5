"""Pure: a Judgement as people and tools see it."""
