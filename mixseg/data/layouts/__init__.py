"""The layouts of data sets that are built in, one a file."""
