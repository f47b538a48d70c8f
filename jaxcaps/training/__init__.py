"""The engine: one jitted step over a mesh, checkpoints, transfer, evaluation, and the loop that reads top to bottom."""
