"""The commands, one file each; :mod:`mixseg.cli` lists them."""
