"""The sequence of a run: plan, export, evaluate, time, and write the resulting document."""
