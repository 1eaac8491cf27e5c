"""What the pretraining loop is made of: checks of its steps, times, ends, compilation, traces."""
