"""What a card does with gpuseg's kernels and tasks, beside what the card can do at most."""
