"""What happens to a run in Coval: it is requested, launched, watched, collected, cancelled."""
