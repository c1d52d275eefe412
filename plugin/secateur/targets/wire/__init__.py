"""The harness' serial protocol: frames, a client, one conversation, the lines it runs over."""
