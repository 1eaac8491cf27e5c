"""The Gradio page on which shapes are classified and searched."""
