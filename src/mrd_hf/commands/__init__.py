"""What `mrd-hf` does at length, a module a command with `main(argv)`: data, training, evaluation, publishing."""
