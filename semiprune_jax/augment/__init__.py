"""Views of images, from which networks learn. Pure functions that run on the device."""
