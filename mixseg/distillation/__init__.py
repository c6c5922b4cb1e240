"""What belongs to distillation besides its step: where teachers come from, what a student saves."""
