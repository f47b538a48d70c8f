"""Pre-trained encoders that come with the library, each with its model card."""
