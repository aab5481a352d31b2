"""What the training scripts share: options, optimizer, stage folder, log, device. No loops."""
