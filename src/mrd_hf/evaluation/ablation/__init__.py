"""What an ablation found: arms compared over splits, seeds and shapes."""
