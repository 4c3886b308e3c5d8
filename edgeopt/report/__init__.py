"""What a run found out, drawn for people: the table, the answer in a sentence, the notebook view."""
