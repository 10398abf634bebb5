"""What everything stands on: time, waiting, the network, secrets, errors."""
