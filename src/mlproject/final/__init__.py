"""The final model: refitted, evaluated on the test images, registered."""
