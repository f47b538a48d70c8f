"""What an endoscope adds to a picture is found: its border, its text and its guide picture."""
