"""What a step does, as procedures over one session, and the record of how far it has come."""
