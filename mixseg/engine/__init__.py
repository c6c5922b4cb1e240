"""The engine: trainer, teacher, schedules, checkpoints. It knows no concrete method."""
