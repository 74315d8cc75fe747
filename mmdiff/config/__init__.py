"""From words to a checked configuration, and from that to objects."""
