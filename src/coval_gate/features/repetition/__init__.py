"""A red run runs once more (repeat_on_failure), and both runs decide together."""
