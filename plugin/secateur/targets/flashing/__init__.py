"""Writing an image into a board, by the tools that its probe or boot loader speaks with."""
