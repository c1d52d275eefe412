"""Part of secateur; see the architecture page."""
