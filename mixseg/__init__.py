"""mixseg: semantic segmentation from few labelled and many unlabelled images."""

__version__ = "0.1.0"
