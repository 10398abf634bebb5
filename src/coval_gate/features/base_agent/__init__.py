"""The agent beside the tested one (base_agent_id): its own runs, with which others are compared."""
