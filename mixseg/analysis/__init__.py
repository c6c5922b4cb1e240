"""Looking at data and results: pictures and their legends."""
