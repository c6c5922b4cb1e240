"""What mixseg's code costs beside a plain transcription of the papers' arithmetic."""
