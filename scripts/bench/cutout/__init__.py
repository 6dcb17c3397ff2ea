"""`darkroom bench cutout`: cut-outs against mattes that are known, because code composed the pictures."""
