"""Further losses of a step, beside those on labels and on strong views.

A term is added by a file in this folder, or one given with ``--import``, that registers it with
:data:`mixseg.registry.TERMS`.
"""

from mixseg.terms.term import StepData, Term, UnsupervisedLoss, states_of

__all__ = ["StepData", "Term", "UnsupervisedLoss", "states_of"]
