"""Side by side with PyTorch."""
