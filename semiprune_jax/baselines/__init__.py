"""Methods that the paper compares with and that need more than a selector: SwAV and TEMI."""
