"""Run templates (run_template_id): their values stand where the inputs are empty."""
