"""What shapes are compared with: texts, pictures, and tables of both."""
