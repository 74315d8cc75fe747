"""A codec's features, encoded once: how they are made, kept, and read as a data set."""
