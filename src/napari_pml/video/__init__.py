"""What frames are read from: files, folders, arrays."""
