"""Source files and data sets, whatever their keys, as a stream of traces."""
