"""What is learned from: datasets and their augmentation."""
