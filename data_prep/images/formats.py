"""The formats of picture files that are read."""

# By their names in Pillow, with the suffixes of their files.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe"),
    "JPEG2000": (".jp2",),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
