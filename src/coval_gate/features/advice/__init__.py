"""What only an error needs: slips in thresholds, and every wrong id with what was meant. Uses `templates`."""
