"""How fast gpuseg is, beside the programs people use today, on one machine in one run."""
