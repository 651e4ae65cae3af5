"""The gate of folds: a process that decides is killed again and again, and everything is said once.

Each round is a process of its own: a whole platform on the folder that the one before left, with
orders coming in, timers and jobs. It gets SIGKILL after a while of chance, or at one of its writes.
In the end somebody carries on to where nothing waits, and the log is held against the orders. Run
as a program it kills as often as it is told, shows how far it is, and ends with a line of figures.
"""
