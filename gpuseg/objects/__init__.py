"""Objects: from probabilities to labels, and from labels to a table of what each one is like."""
