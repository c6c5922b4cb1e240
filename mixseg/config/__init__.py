"""Settings of a run: from YAML files and flags, checked, saved, and read again.

A setting has a path, for example ``optimizer.lr``, in YAML, in ``--set optimizer.lr=1e-3`` and as
the flag ``--optimizer.lr 1e-3``. Nothing here imports torch.
"""
