"""What encoder_speed.py, scaling.py and the GPU report's table of encoders measure with."""
