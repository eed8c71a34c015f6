"""Views of images: what trainings see of them. Pure functions that run on the device."""
