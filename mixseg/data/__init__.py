"""Data: the data set contract, layouts, splits, augmentation, streams and demo scenes."""
