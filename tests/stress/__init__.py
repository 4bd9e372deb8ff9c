"""Very many frames of several processes through one broker, some of which are killed."""
