"""What `larpo_lib` offers to notebooks and scripts: names for what the command line does, with typed results.

Mistakes are raised as `LarpoError`. Nothing here ends the process, sets up logging, or keeps a signal handler.
"""
