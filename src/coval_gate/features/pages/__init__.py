"""What a host shows beside the log (comment, commit_status, check_run), at the launch and with the verdict."""
