"""What torture.py is made of: one module for each part, what they count, and the small things that they break."""
