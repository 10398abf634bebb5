"""All the English about results: the only place that turns measurements and causes into sentences."""
