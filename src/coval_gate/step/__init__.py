"""What a step does, in the order in which a leg passes it."""
