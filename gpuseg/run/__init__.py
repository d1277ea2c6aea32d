"""Work over tiles of images of any size: read, compute and write overlapped."""
