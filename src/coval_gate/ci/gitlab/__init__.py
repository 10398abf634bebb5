"""GitLab: a job's log and reports, and the REST API."""
