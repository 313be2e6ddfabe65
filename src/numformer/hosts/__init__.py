"""Several processes that train together, each on a host of its own: who is there, whether they agree, and how they end.

JAX connects them for the arithmetic. What it does not say is said here, without JAX: before the training a roll call
(`roll_call`), and while it goes on a keeper beside every training process (`keeper`), which names a host that was lost.
"""
