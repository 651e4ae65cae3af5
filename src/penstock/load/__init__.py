"""Reference workloads with exact oracles: they grade any server over plain HTTP.

Nothing here imports the server, so that a defect cannot hide by being shared with its grader.
"""
