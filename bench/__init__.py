"""What cryptography costs: ours beside the peers and beside plaintext, measured in one run (`python -m bench`)."""
