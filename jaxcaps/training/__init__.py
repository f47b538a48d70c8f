"""The training engine: the jitted step, checkpoints, transfer, evaluation and the training loop."""
