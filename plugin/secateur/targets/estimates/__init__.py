"""From executed instructions to cycles and energy, by models of the cores."""
