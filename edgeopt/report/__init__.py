"""Present a run to people: the table, the answer in a sentence, the notebook view."""
