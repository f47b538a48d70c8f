"""A page in the browser to try a trained network on pictures of one's own."""
