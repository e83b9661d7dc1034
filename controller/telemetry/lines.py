"""Line protocol, made by hand from what the site knows."""
