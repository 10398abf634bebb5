"""The command `coval-gate attach`: the user's own code answers the simulated callers of a run, in this job.

Three layers of processes keep one conversation from another. The command follows the run in Coval. It starts one
worker, which imports the user's code once. The worker starts a process for each simulation, which has the
conversation. The API key reaches them through pipes.
"""
