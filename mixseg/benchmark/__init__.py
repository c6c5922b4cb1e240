"""What mixseg's code costs beside a plain transcription of the papers' arithmetic.

The transcription was written for this project: see :mod:`mixseg.benchmark.transcription`.
"""
