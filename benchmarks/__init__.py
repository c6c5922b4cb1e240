"""What mixseg costs beside a plain transcription of the papers' arithmetic: time and memory.

``python -m benchmarks --help``, in the folder of the source code. The transcription was written for
this project (``tests/oracles/transcription.py``); it is no released code of a paper's authors.
"""
