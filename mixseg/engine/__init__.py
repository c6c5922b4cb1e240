"""The engine: trainer, teacher, schedules, checkpoints. It imports no concrete method."""
