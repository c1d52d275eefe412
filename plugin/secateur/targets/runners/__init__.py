"""What executes an image: host, simulator, QEMU, Renode, boards."""
