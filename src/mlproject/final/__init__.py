"""The final model: refitted, evaluated once on the test images, registered."""
