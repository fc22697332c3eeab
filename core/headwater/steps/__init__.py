"""`@hw.step`, `hw.use`, `hw.log`: a function's inputs and results become lineage.

declared    what a step declares: Use, Log
inspection  a function, read once: injected parameters, wanted values, how it looks from outside
scan        handles inside ordinary values
identity    what an execution is called, and how that travels to programs it starts
ambient     which run is mine: the running step's, or the orchestrator's
binding     one call: inputs in, results out; what every adapter shares
decorator   a real function of the user's kind around that
protocols   how all this types
"""
