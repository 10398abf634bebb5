"""The command `coval-gate attach`: the user's own code answers the simulated callers of a run, in this job.

Three layers of processes isolate the conversations. The command follows the run in Coval. It starts one worker,
which imports the user's code once. The worker starts a process for each simulation, and this process has the
conversation. The processes get the API key through pipes.
"""
