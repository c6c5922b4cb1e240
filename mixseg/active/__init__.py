"""Active learning: which unlabeled images are worth a label (Tranheden & Olsson, 5.3.4)."""
