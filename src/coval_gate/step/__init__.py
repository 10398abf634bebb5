"""What a step does: plan, launch, watch, collect, judge, repeat, cancel, publish; the post step."""
